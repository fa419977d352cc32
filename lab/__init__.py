"""The lab: experiments with each pattern that Hedgerow is built on, and each mistake it avoids."""
