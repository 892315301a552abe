"""The API's view of what it is given; see `fleet.services`, which the console shares."""

from fleet.services import ClaimRequest, IssueClaims, IssuedClaim, Services

__all__ = ["ClaimRequest", "IssueClaims", "IssuedClaim", "Services"]
