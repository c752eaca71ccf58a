"""Values only: money, orders, purchases, errors, accounts, dates, and the reading of user input."""
