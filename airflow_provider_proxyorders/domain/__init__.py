"""Values only: money, orders, purchases, errors, accounts, dates, and what a user's input means."""
