"""Analytics: the log store's tables (``schema``) and the questions asked of them (``queries``)."""
