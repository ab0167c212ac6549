"""The page of the server: try a query, see the order before and after, and why."""
