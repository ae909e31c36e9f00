"""Parts that models share: networks, flows, likelihoods, distributions, priors, schedules."""
