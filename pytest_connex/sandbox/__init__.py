"""An embedded exchange that speaks Connex's protocol: its market, its rules, its misbehaviour, its server."""
