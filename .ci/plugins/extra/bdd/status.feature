Feature: The status of Connex

  Scenario: Connex is healthy
    When I ask for the status
    Then it is healthy

  Scenario: Something else is asked
    When I ask for something else
