"""The one TLS context of both roads: the device's certificate, and the fleet's own CA as the only one trusted."""

import ssl

from agent.errors import Misconfigured
from agent.settings import Identity


def client_context(identity: Identity) -> ssl.SSLContext:
    """Make the context: TLS 1.2 or later, the server's name verified; raises Misconfigured if a file will not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(identity.chain_path)
        context.load_cert_chain(identity.cert_path, identity.key_path)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"The certificate or key of {identity.device_id} in {identity.cert_path.parent} cannot be used: {error}.",
            hint="Check the files' rights, or enroll the device anew.",
        ) from error
    return context
