// The page "Proxy orders". No build step: React and Chakra are Airflow's own, published on globalThis. Everything from the ledger is
// rendered as text by React. Where Airflow's UI lacks a part, a plain element of HTML stands in, and the page says so.
const { createElement: h, Fragment, useCallback, useEffect, useRef, useState } = globalThis.React;
const API = new URL("proxyorders/page/api/", document.baseURI);
const WORDS = { unresolved: "unresolved", intended: "intended", sent: "sent", placed: "placed", delivered: "delivered" };
const COLOURS = {
  delivered: "success", placed: "info", sent: "info", unknown: "warning", quarantined: "error", failed: "failed", rejected: "error",
  refunded: "warning", partial: "warning", expired: "gray", intended: "gray",
  ok: "success", note: "warning", broken: "error", skipped: "gray", near: "warning", reached: "error",
};

// ------------------------------------------------------------------------------------------------ parts of Airflow's UI

const lacking = new Set();
const HTML = new Set(["id", "role", "title", "href", "type", "value", "checked", "disabled", "placeholder", "tabIndex", "style", "colSpan",
  "scope", "htmlFor", "name", "maxLength", "required", "target", "rel", "className", "open"]);
function part(name, tag) {
  const real = name.split(".").reduce((from, step) => from?.[step], globalThis.ChakraUI);
  if (real) return real;
  lacking.add(name);
  return ({ children, ref, ...props }) => {
    const kept = Object.entries(props).filter(([key]) => HTML.has(key) || key.startsWith("on") || key.startsWith("aria-"));
    return h(tag, { ref, ...Object.fromEntries(kept) }, children);
  };
}
const Box = part("Box", "div"), Badge = part("Badge", "b"), Button = part("Button", "button"), Heading = part("Heading", "h2");
const Text = part("Text", "p"), Input = part("Input", "input"), Spinner = part("Spinner", "span");
const Table = {
  Root: part("Table.Root", "table"), Header: part("Table.Header", "thead"), Body: part("Table.Body", "tbody"), Row: part("Table.Row", "tr"),
  ColumnHeader: part("Table.ColumnHeader", "th"), Cell: part("Table.Cell", "td"), Caption: part("Table.Caption", "caption"),
};
const FIELD = {
  background: "var(--chakra-colors-bg, Field)", color: "var(--chakra-colors-fg, FieldText)", font: "inherit", fontSize: "14px",
  border: "1px solid var(--chakra-colors-border, GrayText)", borderRadius: "4px", padding: "6px 8px", height: "36px", boxSizing: "border-box", maxWidth: "100%", minWidth: 0,
};
const row = (props, ...children) => h(Box, { display: "flex", flexWrap: "wrap", gap: 3, alignItems: "center", style: { display: "flex" }, ...props }, ...children);
const strong = (text) => h("b", { style: { minWidth: 0, overflowWrap: "anywhere" } }, text);
const badge = (state, text) => h(Badge, { colorPalette: COLOURS[state] ?? "gray" }, text ?? WORDS[state] ?? state);
const muted = (...children) => h(Text, { color: "fg.muted", fontSize: "sm" }, ...children);
const card = (props, ...children) =>
  h(Box, { borderWidth: "1px", borderRadius: "md", p: 3, mb: 3, style: { overflowWrap: "anywhere" }, ...props }, ...children);
const title = (text, level = 2) => h(Heading, { as: `h${level}`, size: level === 1 ? "lg" : "md", mb: 2 }, text);

// ------------------------------------------------------------------------------------------------ calls and words

async function call(path, body) {
  const options = { credentials: "same-origin", headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { ...options.headers, "Content-Type": "application/json", "X-Proxyorders": "1" };
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(new URL(path, API), options);
  } catch {
    throw new Error("Airflow cannot be reached. Nothing was changed.");
  }
  const json = await answer.json().catch(() => null);
  if (answer.ok) return json;
  const detail = json?.detail;
  throw new Error(typeof detail === "string" ? detail : answer.status === 401 ? "You are logged out. Log in again." : `${answer.status} ${answer.statusText}`);
}
const query = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== "" && value != null && value !== false)).toString();
const at = (iso) => (iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC` : "–");
/** The same in a cell: it breaks between date and time only. */
const when = (iso) => at(iso).split(/ (?=\d\d:)/).flatMap((words, i) => [i ? " " : "", h("span", { key: i, style: { whiteSpace: "nowrap" } }, words)]);
function ago(iso) {
  const minutes = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 60000));
  return minutes < 90 ? `${minutes} min ago` : minutes < 2880 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;
}
const price = (p) => p.price ?? `up to ${p.reserved}`;
function taskAddress(task) {
  const path = ["dags", task.dag_id, "runs", task.run_id, "tasks", task.task_id, ...(task.map_index >= 0 ? ["mapped", task.map_index] : [])];
  return new URL(path.map(encodeURIComponent).join("/"), document.baseURI).href;
}
const link = (href, text, props) => h("a", { href, style: { textDecoration: "underline", color: "var(--chakra-colors-fg-info, LinkText)" }, ...props }, text);
const taskLink = (task) => (task ? link(taskAddress(task), `${task.dag_id}.${task.task_id}${task.map_index >= 0 ? `[${task.map_index}]` : ""}`) : "–");

/** The answer of a call, read again with `reload`. */
function useCall(path) {
  const [state, setState] = useState({ loading: true });
  const wanted = useRef(path);
  const reload = useCallback(() => {
    wanted.current = path;
    setState((before) => ({ ...before, loading: true }));
    call(path).then(
      (data) => wanted.current === path && setState({ data }),
      (error) => wanted.current === path && setState({ error: error.message }),
    );
  }, [path]);
  useEffect(reload, [reload]);
  return [state, reload];
}
function shown(state, draw) {
  if (state.error) return h(Text, { role: "alert", color: "fg.error" }, state.error);
  if (!state.data) return row({ role: "status" }, h(Spinner, { size: "sm" }), "Loading …");
  return draw(state.data);
}
function table(caption, heads, rows, empty) {
  if (!rows.length) return muted(empty ?? "None.");
  return h(Box, { overflowX: "auto", tabIndex: 0, role: "region", "aria-label": caption, style: { overflowX: "auto" } },
    h(Table.Root, { size: "sm", variant: "line", "aria-label": caption },
      h(Table.Header, null, h(Table.Row, null, heads.map((head) => h(Table.ColumnHeader, { key: head, scope: "col", whiteSpace: "nowrap" }, head)))),
      h(Table.Body, null, rows.map(({ key, cells }) => h(Table.Row, { key }, cells.map((cell, i) => h(Table.Cell, { key: i }, cell)))))));
}

// ------------------------------------------------------------------------------------------------ deciding

const CONSEQUENCES = {
  adopt: (d) => `The order counts as this purchase, and ${d.amount} counts for wallet ${d.wallet}. The task goes on with this order and buys nothing.`,
  absent: (d) => `The reservation of ${d.amount} in wallet ${d.wallet} ends. The task may buy it again.`,
  foreign: (d) => `The order does not count for this purchase. Its reservation of ${d.amount} in wallet ${d.wallet} ends.`,
  "give up": (d) => `Only the reservation of ${d.amount} in wallet ${d.wallet} ends. A retry, a Clear or a running try of its task still buys: mark the task as failed first.`,
  unfreeze: (d) => `Tasks may buy from wallet ${d.wallet} again. The balance of now is taken as right.`,
};
const stake = (w) => `Reserved in it: ${w.reserved}. Unresolved purchases: ${w.unresolved}.`;
const TITLES = { adopt: "It was taken", absent: "It was not taken", foreign: "The order is not ours", "give up": "Give up this key", unfreeze: "Unfreeze the wallet" };

/** Repeats amount, wallet and consequence, looks at ledger and vendor, and records the decision. */
function Decide({ about, close }) {
  const box = useRef(null);
  const [orderId, setOrderId] = useState(about.order_id ?? "");
  const [note, setNote] = useState("");
  const [gone, setGone] = useState(null); // asked for only when a restored ledger needs it
  const [checked, setChecked] = useState(null);
  const [done, setDone] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const frozen = about.word === "unfreeze", needsId = about.word === "adopt" || about.word === "foreign";
  useEffect(() => { if (box.current?.showModal && !box.current.open) box.current.showModal(); }, []);
  const body = frozen ? { wallet: about.wallet, note, why: checked?.why ?? null, gone: (gone ?? "").split(/[\s,]+/).filter(Boolean) } : { order_key: about.order_key, word: about.word, order_id: needsId ? orderId.trim() : "", note };
  const step = async (path, then) => {
    setBusy(true);
    setError(null);
    try { then(await call(path, body)); } catch (problem) {
      setChecked(null);
      setError(problem.message);
      if (frozen && problem.message.includes("gone for good")) setGone((named) => named ?? "");
    }
    setBusy(false);
  };
  const field = (label, value, change, more) =>
    h("label", { style: { display: "block", margin: "8px 0" } }, label,
      h("input", { style: { ...FIELD, display: "block", width: "100%" }, value, disabled: busy || done, onChange: (e) => { change(e.target.value); setChecked(null); }, ...more }));
  const end = () => close(done);
  return h("dialog", {
    ref: box, onCancel: (e) => { e.preventDefault(); end(); }, "aria-labelledby": "po-decide",
    style: { background: "var(--chakra-colors-bg, Canvas)", color: "var(--chakra-colors-fg, CanvasText)", border: "1px solid var(--chakra-colors-border, GrayText)", borderRadius: "8px", padding: "20px", width: "min(560px, 94vw)", margin: "auto", overflowWrap: "anywhere" },
  },
    h(Heading, { as: "h2", size: "md", id: "po-decide", mb: 2 }, TITLES[about.word]),
    !frozen && h(Text, null, h("b", null, about.order_key)),
    h(Text, null, frozen ? "" : "Amount: ", frozen ? null : h("b", null, about.amount), frozen ? "Wallet: " : ", wallet: ", h("b", null, about.wallet)),
    frozen && h(Fragment, null, h(Text, null, `Frozen because ${checked?.why ?? about.why}`), h(Text, null, stake(checked ?? about))),
    h(Text, { my: 2 }, CONSEQUENCES[about.word](about)),
    needsId && field("Order id at the vendor", orderId, setOrderId, { required: true, maxLength: 200, autoFocus: true }),
    gone !== null && field("Connections that are gone for good", gone, setGone, { maxLength: 2000 }),
    field("Your reason, for the history (optional)", note, setNote, { maxLength: 500 }),
    checked && h(Box, { role: "status", my: 2, p: 2, borderWidth: "1px", borderRadius: "md" },
      h(Text, null, checked.outcome ?? "Looked: it is frozen for this reason now."), (checked.seen ?? []).map((line, i) => h(Text, { key: i, fontSize: "sm", color: "fg.muted" }, line))),
    error && h(Text, { role: "alert", color: "fg.error", my: 2 }, error),
    done && h(Text, { role: "status", my: 2 }, "Recorded."),
    row({ mt: 3 },
      !checked && !done && h(Button, { size: "sm", disabled: busy || (needsId && !orderId.trim()), onClick: () => step(frozen ? "unfreeze/check" : "decision/check", setChecked) }, busy ? "Looking …" : "Look first"),
      checked && !done && h(Button, { size: "sm", colorPalette: "red", disabled: busy, onClick: () => step(frozen ? "unfreeze" : "decision", () => setDone(true)) }, "Record for good"),
      done && about.task && h(ClearTask, { task: about.task }),
      h(Button, { size: "sm", variant: "outline", onClick: end }, done ? "Close" : "Cancel")));
}

/** Clears a task through Airflow's own call, with the user's own rights. */
function ClearTask({ task }) {
  const [said, say] = useState(null);
  const clear = async () => {
    say("Clearing …");
    const ids = task.map_index >= 0 ? [[task.task_id, task.map_index]] : [task.task_id];
    const answer = await fetch(new URL(`api/v2/dags/${encodeURIComponent(task.dag_id)}/clearTaskInstances`, document.baseURI), {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ dry_run: false, dag_run_id: task.run_id, task_ids: ids, only_failed: false, reset_dag_runs: true }),
    }).catch(() => null);
    const json = await answer?.json().catch(() => null);
    say(answer?.ok ? `Cleared: ${task.dag_id}.${task.task_id} runs again.` : `Airflow did not clear the task: ${typeof json?.detail === "string" ? json.detail : answer?.status ?? "no answer"}`);
  };
  return said ? h(Text, { role: "status" }, said) : h(Button, { size: "sm", onClick: clear }, "Clear its task");
}

function decisions(p, decide) {
  const facts = { order_key: p.order_key, amount: price(p), wallet: p.wallet, task: p.task };
  const button = (word, text, more) =>
    h(Button, { key: word + (more?.order_id ?? ""), size: "sm", variant: "outline", disabled: !p.may_decide, title: p.may_decide ? undefined : "This needs the right to edit the connection.", onClick: () => decide({ ...facts, word, ...more }) }, text);
  const questions = p.questions ?? [];
  if (!p.unresolved && !questions.length) return p.step === "intended" ? [button("give up", "Give up this key …")] : [];
  return [
    button("adopt", "It was taken …", questions[0] && { order_id: questions[0].order_id }),
    !questions.length && button("absent", "It was not taken …"),
    ...questions.map((q) => button("foreign", `Order ${q.order_id} is not ours …`, { order_id: q.order_id })),
  ];
}

// ------------------------------------------------------------------------------------------------ tabs

function Attention({ decide, open, version }) {
  const [state, reload] = useCall("attention");
  useEffect(() => { if (version) reload(); }, [version]); // eslint-disable-line
  const part = (name, rows, more, draw) => h("section", { "aria-label": name, style: { marginBottom: "20px" } },
    title(`${name} (${rows.length}${more ? " or more" : ""})`), rows.length ? draw(rows) : muted("None."));
  return shown(state, (d) => h(Fragment, null,
    part("Waits for a person", d.unresolved, d.more?.unresolved, (rows) => rows.map((p) => card({ key: p.order_key },
      row({}, badge(p.step), h("span", { style: { minWidth: 0 } }, keyLink(p, open)), h("b", null, price(p))),
      h(Text, null, `${p.kind} at ${p.vendor} through ${p.conn_id}, wallet ${p.wallet}`),
      h(Text, { fontSize: "sm" }, `Asked for: ${p.request || "–"}${p.target ? `, order ${p.target}` : ""}`),
      h(Text, { fontSize: "sm" }, p.sent_at ? `Sent ${at(p.sent_at)}, ${ago(p.sent_at)}.` : "Not sent."),
      h(Text, { fontSize: "sm" }, p.seen ? `Seen ${at(p.seen_at)}: ${p.seen}` : "Nobody has looked at the vendor so far."),
      p.questions.map((q) => h(Text, { key: q.order_id, fontSize: "sm" }, q.why)),
      row({ mt: 2 }, ...decisions(p, decide))))),
    part("Frozen wallets", d.frozen, false, (rows) => rows.map((w) => card({ key: w.wallet },
      h("b", null, w.wallet), h(Text, null, w.why), h(Text, { fontSize: "sm" }, stake(w)),
      h(Button, { mt: 2, size: "sm", variant: "outline", disabled: !w.may_decide, title: w.may_decide ? undefined : "This needs the right to edit every connection of the wallet.", onClick: () => decide({ ...w, word: "unfreeze" }) }, "Unfreeze …")))),
    part("Failed in the last 7 days", d.failed, d.more?.failed, (rows) => table("Failed purchases", ["State", "Purchase", "Price", "Vendor says", "Reason", "Changed"],
      rows.map((p) => ({ key: p.order_key, cells: [badge(p.step), keyLink(p, open), price(p), p.vendor_status ?? "–", p.reason || "–", at(p.updated_at)] })))),
    part("Webhooks that match no purchase", d.webhooks, d.more?.webhooks, webhookTable),
    part("Orders that end within 7 days without an extension under way", d.ending, d.more?.ending, (rows) => table("Ending orders", ["Ends", "Order", "Vendor", "Wallet", "Price", "Purchase"],
      rows.map((e) => ({ key: e.order_key, cells: [at(e.at), e.order_id, e.vendor, e.wallet, e.price ?? "–", keyLink(e, open)] }))))));
}

const keyLink = (p, open) => link(purchaseAddress(p.order_key), p.order_key, {
  onClick: (e) => { if (!e.ctrlKey && !e.metaKey && !e.shiftKey) { e.preventDefault(); open(p.order_key); } },
});
function purchaseAddress(key) {
  const address = new URL("plugin/proxyorders", document.baseURI);
  address.search = query({ purchase: key });
  return address.href;
}

function Bars({ wallet }) {
  const limit = Number(wallet.today.limit ?? 0), most = Math.max(limit, ...wallet.days.map((d) => Number(d.amount)), 0.01);
  const total = wallet.days.reduce((sum, d) => sum + Number(d.amount), 0);
  const label = `Spending of wallet ${wallet.wallet} in the last 30 days, ${total.toFixed(2)} in all${limit ? `, daily limit ${wallet.today.limit}` : ""}`;
  return h("svg", { role: "img", "aria-label": label, viewBox: "0 0 300 84", preserveAspectRatio: "none", style: { width: "100%", maxWidth: "420px", height: "90px", color: "var(--chakra-colors-fg-info, #3b82f6)" } },
    wallet.days.map((d, i) => {
      const height = (76 * Number(d.amount)) / most;
      return h("rect", { key: d.day, x: i * 10 + 1, y: 80 - height, width: 8, height: Math.max(height, Number(d.amount) ? 1 : 0), fill: "currentColor" }, h("title", null, `${d.day}: ${d.amount} ${wallet.currency ?? ""}`));
    }),
    h("line", { x1: 0, x2: 300, y1: 81, y2: 81, stroke: "var(--chakra-colors-border, gray)", vectorEffect: "non-scaling-stroke" }),
    limit > 0 && h("line", { x1: 0, x2: 300, y1: 80 - (76 * limit) / most, y2: 80 - (76 * limit) / most, stroke: "var(--chakra-colors-fg-error, red)", strokeDasharray: "4 3", vectorEffect: "non-scaling-stroke" }, h("title", null, `daily limit ${wallet.today.limit}`)));
}

function Wallets({ decide, version }) {
  const [state, reload] = useCall("wallets");
  useEffect(() => { if (version) reload(); }, [version]); // eslint-disable-line
  const beside = (name, use, unit) => h(Text, null, `${name}: ${use.spent}${use.limit ? ` of ${use.limit}` : ""} ${unit ?? ""} `, use.state !== "ok" && badge(use.state, use.state === "near" ? "near the limit" : "limit reached"));
  return shown(state, (list) => (list.length ? h(Box, { display: "grid", gap: 3, gridTemplateColumns: "repeat(auto-fill, minmax(min(320px, 100%), 1fr))", style: { display: "grid" } },
    list.map((w) => h("section", { key: w.wallet, "aria-label": `Wallet ${w.wallet}` }, card(
      { borderColor: w.frozen ? "border.error" : w.today.state !== "ok" || w.month.state !== "ok" ? "border.warning" : undefined },
      row({}, strong(w.wallet), w.frozen && badge("broken", "frozen")),
      muted(`Connections: ${w.connections.join(", ") || "–"}`),
      w.frozen && h(Text, { color: "fg.error" }, `Frozen because ${w.frozen}`),
      h(Text, null, w.balance ? `Balance: ${w.balance}, read ${at(w.balance_at)}` : "Balance: not read so far"),
      beside("Today", w.today, w.currency), beside("This month", w.month, w.currency),
      h(Text, null, `Reserved: ${w.reserved} ${w.currency ?? ""}`), h(Text, null, `Runway: ${w.runway}`),
      w.trouble && h(Text, { fontSize: "sm", color: "fg.warning" }, w.trouble),
      h(Bars, { wallet: w }),
      w.frozen && h(Button, { size: "sm", variant: "outline", disabled: !w.may_decide, onClick: () => decide({ ...w, word: "unfreeze", why: w.frozen, reserved: `${w.reserved} ${w.currency ?? ""}` }) }, "Unfreeze …"))))) : muted("No wallet so far: nothing was bought through a connection that you may read.")));
}

const NO_FILTER = { state: "", vendor: "", wallet: "", conn_id: "", dag_id: "", kind: "", since: "", until: "", text: "", sort: "updated_at", ascending: "" };
const SORTS = { updated_at: "last change", created_at: "first intended", expires_at: "end of term" };
const MOST_CALLS = 50; // a call looks at a bounded number of rows; a page goes on until it is full, or asks

function Purchases({ start, open, version }) {
  const [filter, setFilter] = useState(NO_FILTER);
  const [list, setList] = useState({ rows: [], after: null, loading: true });
  const turn = useRef(0);
  const address = (more) => query({ ...filter, since: filter.since && `${filter.since}T00:00:00Z`, until: filter.until && `${filter.until}T00:00:00Z`, ...more });
  const load = async (before) => {
    const mine = ++turn.current;
    let rows = before?.rows ?? [], after = before?.after ?? null;
    const wanted = rows.length + 50;
    setList({ rows, after, loading: true });
    try {
      for (let calls = 0; calls < MOST_CALLS && rows.length < wanted; calls++) {
        const page = await call(`purchases?${address({ after, size: Math.min(200, wanted - rows.length) })}`);
        if (turn.current !== mine) return;
        const keys = new Set([...rows, ...page.exact].map((p) => p.order_key));
        rows = [...rows, ...page.exact, ...page.rows.filter((p) => !keys.has(p.order_key))];
        after = page.after;
        if (!after) break;
        setList({ rows, after, loading: true });
      }
      setList({ rows, after });
    } catch (error) {
      if (turn.current === mine) setList({ rows, after: null, error: error.message });
    }
  };
  useEffect(() => { const timer = setTimeout(() => load(), 250); return () => clearTimeout(timer); }, [filter, version]); // eslint-disable-line
  const set = (name) => (e) => setFilter({ ...filter, [name]: e.target.value });
  const choice = (name, label, values) => h("label", { key: name, style: { fontSize: "13px", minWidth: 0, maxWidth: "100%" } }, label,
    h("select", { "aria-label": label, style: { ...FIELD, display: "block" }, value: filter[name], onChange: set(name) },
      values.map(([value, text]) => h("option", { key: value, value }, text))));
  const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
  const typed = (name, label, type, listOf) => h("label", { key: name, style: { fontSize: "13px", minWidth: 0, maxWidth: "100%" } }, label,
    h("input", { "aria-label": label, type, list: listOf && `po-${name}`, style: { ...FIELD, display: "block" }, value: filter[name], onChange: set(name), maxLength: 250 }),
    listOf && h("datalist", { id: `po-${name}` }, listOf.map((value) => h("option", { key: value, value }))));
  return h(Fragment, null,
    h("form", { role: "search", "aria-label": "Filter purchases", onSubmit: (e) => e.preventDefault(), style: { display: "flex", flexWrap: "wrap", gap: "10px", alignItems: "end", marginBottom: "12px" } },
      typed("text", "Text", "search"), choice("state", "State", all(start.states)), choice("vendor", "Vendor", all(start.vendors)),
      choice("wallet", "Wallet", all(start.wallets)), choice("conn_id", "Connection", all(start.connections)), typed("dag_id", "DAG", "search", start.dags),
      choice("kind", "Kind", all(["create", "extend"])), choice("sort", "Sorted by", Object.entries(SORTS)),
      choice("ascending", "Order", [["", "newest first"], ["true", "oldest first"]]), typed("since", "From", "date"), typed("until", "Before", "date"),
      h(Button, { type: "button", size: "sm", variant: "outline", onClick: () => setFilter(NO_FILTER) }, "All"),
      link(new URL(`purchases.csv?${address({})}`, API).href, "CSV of what is filtered", { download: "purchases.csv" })),
    list.error && h(Text, { role: "alert", color: "fg.error" }, list.error),
    h(Text, { role: "status", fontSize: "sm", color: "fg.muted", mb: 1 }, list.loading ? `Loading … ${list.rows.length} so far` : `${list.rows.length}${list.after ? " and more" : ""} purchases`),
    (!list.loading || list.rows.length > 0) && !list.error && table("Purchases", ["State", "Purchase", "Vendor", "Kind", "Order", "Vendor says", "Price", "Ends", "Task", "Changed"],
      list.rows.map((p) => ({ key: p.order_key, cells: [badge(p.step, p.unresolved ? `${p.step}, unresolved` : p.step), keyLink(p, open), `${p.vendor}, ${p.conn_id}`, p.kind, p.order_id ?? p.target ?? "–", p.vendor_status || "–", h("span", { style: { whiteSpace: "nowrap" } }, price(p)), when(p.expires_at), taskLink(p.task), when(p.updated_at)] })),
      start.used ? (list.after ? "None of the rows looked at so far fits the filter. Go on to look at more." : "No purchase fits the filter.") : "The ledger is empty: nothing was bought so far."),
    list.after && !list.loading && h(Button, { mt: 2, size: "sm", variant: "outline", onClick: () => load(list) }, "Go on"));
}

function One({ orderKey, decide, open, close, version }) {
  const [state, reload] = useCall(`purchase?${query({ order_key: orderKey })}`);
  useEffect(() => { if (version) reload(); }, [version]); // eslint-disable-line
  return h("section", { "aria-label": "Purchase" }, h(Button, { size: "sm", variant: "outline", mb: 3, onClick: close }, "← All purchases"),
    shown(state, (p) => {
      const facts = [
        ["Order key", p.order_key], ["Vendor", `${p.vendor}, connection ${p.conn_id}, wallet ${p.wallet}`], ["Kind", p.target ? `${p.kind} of order ${p.target}` : p.kind],
        ["Order", p.order_page ? link(p.order_page, p.order_id, { target: "_blank", rel: "noreferrer noopener" }) : p.order_id ?? "unknown"], ["Vendor says", p.vendor_status],
        ["Price", p.price ?? `open, ${p.reserved} reserved`], ["Sent", p.sent_at && `${at(p.sent_at)}, ${ago(p.sent_at)}`], ["Ends", p.expires_at && at(p.expires_at)],
        ["Delivered", p.delivered != null && `${p.delivered} proxies or codes`], ["Webhooks", `${p.webhooks}, received ${p.webhook_copies} times`],
        ["Task", p.task && taskLink(p.task)], ["Reason", p.reason], ["Wallet is frozen", p.frozen], ["Asked for", p.request], ["Evidence", p.evidence],
      ].filter(([, value]) => value);
      return h(Fragment, null, row({ mb: 2 }, title(p.order_id ? `Order ${p.order_id}` : "Purchase"), badge(p.step, p.unresolved ? `${p.step}, unresolved` : p.step)),
        p.questions.map((q) => h(Text, { key: q.order_id, color: "fg.warning" }, q.why)),
        row({ mb: 3 }, ...decisions(p, decide), p.task && p.may_decide && h(ClearTask, { task: p.task })),
        h("dl", { style: { display: "grid", gridTemplateColumns: "minmax(90px, max-content) 1fr", gap: "4px 16px", marginBottom: "16px", overflowWrap: "anywhere" } },
          facts.map(([name, value]) => h(Fragment, { key: name }, h("dt", { style: { opacity: 0.75 } }, name), h("dd", { style: { minWidth: 0 } }, value)))),
        p.same_order.length > 0 && h(Fragment, null, title("Other purchases of this order", 3), p.same_order.map((o) => h(Text, { key: o.order_key }, badge(o.step), ` ${o.kind} `, keyLink(o, open)))),
        title("History", 3), table("History", ["At", "State", "What happened", "By"], p.history.map((s, i) => ({ key: i, cells: [at(s.at), badge(s.step), s.why, s.task ? h("span", { title: s.who }, taskLink(s.task)) : s.who] }))),
        p.looks.length > 0 && h(Fragment, null, title("Looks at the vendor", 3), table("Looks", ["At", "Verdict", "Seen"], p.looks.map((l, i) => ({ key: i, cells: [at(l.at), l.verdict, l.detail] })))));
    }));
}

const webhookTable = (rows) => table("Webhooks", ["Received", "Connection", "Order", "Status", "Copies", "Purchase"],
  rows.map((w) => ({ key: w.number, cells: [at(w.received_at), w.conn_id, w.order_id, w.status, w.times, w.matched ? "matches" : badge("note", "matches none")] })), "No webhook was received.");
function Webhooks() {
  const [list, setList] = useState({ rows: [] });
  const load = (before) => call(`webhooks?${query({ before })}`).then(
    (page) => setList((old) => ({ rows: before ? [...old.rows, ...page.rows] : page.rows, before: page.before, data: true })), (error) => setList({ rows: [], error: error.message }));
  useEffect(() => { load(); }, []);
  return shown(list, () => h(Fragment, null, webhookTable(list.rows), list.before && h(Button, { mt: 2, size: "sm", variant: "outline", onClick: () => load(list.before) }, "Go on")));
}

function Guarantees() {
  const [state] = useCall("guarantees");
  return shown(state, (list) => list.map((v) => h("section", { key: v.vendor, "aria-label": v.title, style: { marginBottom: "16px" } }, title(v.title),
    table(`Guarantees at ${v.title}`, ["What", "Guarantee"], Object.entries(v.guarantees).map(([what, text]) => ({ key: what, cells: [what, text] }))))));
}

function Doctor({ start }) {
  const [conn, setConn] = useState(start.connections[0] ?? "");
  const [state, setState] = useState(null);
  const run = () => { setState({}); call("doctor", { conn_id: conn.trim() }).then((data) => setState({ data }), (error) => setState({ error: error.message })); };
  return h(Fragment, null, muted("The doctor reads at the vendor and in the ledger. It buys nothing."),
    h("form", { onSubmit: (e) => { e.preventDefault(); run(); }, style: { display: "flex", gap: "10px", alignItems: "end", margin: "10px 0", flexWrap: "wrap" } },
      h("label", { style: { fontSize: "13px" } }, "Connection", h("input", { "aria-label": "Connection", list: "po-conns", style: { ...FIELD, display: "block" }, value: conn, onChange: (e) => setConn(e.target.value) })),
      h("datalist", { id: "po-conns" }, start.connections.map((id) => h("option", { key: id, value: id }))),
      h(Button, { type: "submit", size: "sm", disabled: !conn.trim() }, "Run the doctor")),
    state && shown(state, (report) => h(Fragment, null, h(Text, { role: "status", mb: 2 }, `${report.conn_id}: ${report.summary}`),
      table("Report of the doctor", ["State", "Part", "Found", "Advice"], report.checks.map((c, i) => ({ key: i, cells: [badge(c.state), c.name, c.text, c.advice || "–"] }))))));
}

// ------------------------------------------------------------------------------------------------ the page

const TABS = [["attention", "Needs attention", Attention], ["wallets", "Wallets", Wallets], ["purchases", "Purchases", Purchases], ["webhooks", "Webhooks", Webhooks], ["guarantees", "Guarantees", Guarantees], ["doctor", "Doctor", Doctor]];
const place = () => {
  const words = new URLSearchParams(location.search), tab = words.get("tab");
  const task = words.get("task_id") ? { dagId: words.get("dag_id"), runId: words.get("run_id"), taskId: words.get("task_id"), mapIndex: words.get("map_index") } : null;
  return { task, key: words.get("purchase"), tab: TABS.some(([id]) => id === tab) ? tab : words.get("purchase") || task ? "purchases" : "attention" };
};

function Page() {
  const [where, setWhere] = useState(place);
  const [about, decide] = useState(null);
  const [version, setVersion] = useState(0);
  const [state] = useCall("start");
  useEffect(() => { const back = () => setWhere(place()); addEventListener("popstate", back); return () => removeEventListener("popstate", back); }, []);
  const go = (next) => {
    history.pushState(history.state, "", `${location.pathname}?${query({ tab: next.tab, purchase: next.key })}`);
    setWhere({ key: null, ...next });
  };
  const keys = (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const ids = TABS.map(([id]) => id), next = ids[(ids.indexOf(where.tab) + step + ids.length) % ids.length];
    go({ tab: next });
    document.getElementById(`po-tab-${next}`)?.focus();
  };
  const Tab = TABS.find(([id]) => id === where.tab)[2];
  const props = { decide, version, open: (key) => go({ tab: "purchases", key }), start: state.data };
  return h(Box, { as: "main", p: { base: 2, md: 4 }, overflow: "auto", height: "100%", width: "100%", style: { overflow: "auto", minWidth: 0 } },
    title("Proxy orders", 1),
    lacking.size > 0 && h(Text, { role: "note", mb: 2 }, `Airflow's UI lacks ${[...lacking].join(", ")}, so the page shows plain lists.`),
    h("div", { role: "tablist", "aria-label": "Proxy orders", onKeyDown: keys, style: { display: "flex", flexWrap: "wrap", gap: "6px", marginBottom: "16px" } },
      TABS.map(([id, name]) => h(Button, { key: id, id: `po-tab-${id}`, role: "tab", "aria-selected": id === where.tab, "aria-controls": "po-panel", tabIndex: id === where.tab ? 0 : -1, size: "sm", variant: id === where.tab ? "solid" : "outline", onClick: () => go({ tab: id }) }, name))),
    h("div", { role: "tabpanel", id: "po-panel", "aria-labelledby": `po-tab-${where.tab}` },
      shown(state, (start) => h(Fragment, null,
        !start.used && h(Text, { mb: 2 }, "The ledger is empty: nothing was bought so far."),
        start.used && !start.connections.length && h(Text, { mb: 2 }, "You may read no connection with purchases, so nothing is shown."),
        where.task ? h(OfTask, where.task) : where.tab === "purchases" && where.key ? h(One, { ...props, key: where.key, orderKey: where.key, close: () => go({ tab: "purchases" }) }) : h(Tab, props)))),
    about && h(Decide, { about, close: (changed) => { decide(null); if (changed) setVersion((count) => count + 1); } }));
}

/** What a task bought, as a tab of the task. */
function OfTask({ dagId, runId, taskId, mapIndex }) {
  const [about, decide] = useState(null);
  const [version, setVersion] = useState(0);
  const [state, reload] = useCall(`task?${query({ dag_id: dagId, run_id: runId, task_id: taskId, map_index: mapIndex ?? "-1" })}`);
  useEffect(() => { if (version) reload(); }, [version]); // eslint-disable-line
  return h(Box, { p: 3 }, shown(state, (list) => (list.length ? list.map((p) => h(One, { key: p.order_key, orderKey: p.order_key, decide, version, open: (key) => location.assign(purchaseAddress(key)), close: () => location.assign(purchaseAddress(p.order_key)) })) : muted("This task bought nothing that you may see."))),
    about && h(Decide, { about, close: (changed) => { decide(null); if (changed) setVersion((count) => count + 1); } }));
}

const ProxyOrders = (props) => (props?.taskId ? h(OfTask, props) : h(Page));
globalThis.AirflowPlugin = ProxyOrders;
// a cached module does not run again, so each name of the plugin gets its component now
for (const name of ["Proxy orders", "Purchase"]) globalThis[name] = ProxyOrders;
export default ProxyOrders;
