# Included last: all rules are known.
keep_signatures()
