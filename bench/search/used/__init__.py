"""Search as it is used: `gateway up` as it comes, beside what people would write themselves."""
