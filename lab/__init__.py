"""The lab: each pattern that Hedgerow is built on, and each mistake it saves from, to look at."""
