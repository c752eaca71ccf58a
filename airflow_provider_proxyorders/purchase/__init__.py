"""The only room that spends: place, extend and settle purchases, and track their orders.

Read :mod:`.buyer` first; its loop is one purchase. Then :mod:`.attempt` (the state of one call), :mod:`.sending` (the one request
that spends) and :mod:`.settling` (a lost answer). These four explain a purchase. The others hold details:

- :mod:`.price`: the caps and the quote;
- :mod:`.turns`: the queue on a wallet;
- :mod:`.evidence`: one look at the vendor;
- :mod:`.tracker`, :mod:`.polling`: waiting for the order;
- :mod:`.resolving`: the decisions of a person; :mod:`.decision`: what is looked at before one;
- :mod:`.outcome`: the result object and the texts;
- :mod:`.guarantees`: the promises for each vendor.
"""
