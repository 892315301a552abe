"""The API's view of what it is given; see `fleet.services`, which the console shares."""

from fleet.services import ClaimRequest, IssueClaim, IssuedClaim, Services

__all__ = ["ClaimRequest", "IssueClaim", "IssuedClaim", "Services"]
