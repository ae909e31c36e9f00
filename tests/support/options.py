"""Words of the command line that make a run take a second or so."""

SMALL = (
    *("--set", "draws=60", "--set", "joint_draws=40", "--set", "probe_images=60"),
    *("--set", "judge_steps=3", "--set", "steps=4"),
)
SHORT_CHAINS = ("--set", "chains=20", "--set", "chain_steps=20")  # where Boltzmann machines are run
