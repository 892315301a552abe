"""`python -m agent.cli`: the same as `fleet-agent`; the agent starts its own short processes this way."""

from agent.cli import main

main()
