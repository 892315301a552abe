"""Where the server is and what opens it: contexts in the user's config dir, and the environment, which wins.

`contexts.json` holds tokens, so it is written 0600 and replaced whole.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from fleet.errors import Misconfigured, NotFound

DEFAULT_URL = "http://127.0.0.1:8080"
FILE = "contexts.json"


@dataclass(frozen=True, slots=True)
class Access:
    """One server and the right to speak to it."""

    url: str
    token: str = field(repr=False)
    ca: str = ""  # file of CA certificates to trust beside the system's; "": the system's alone
    name: str = ""  # of the context; "": from the environment


@dataclass(frozen=True, slots=True)
class Contexts:
    """All servers that this user is signed in to."""

    current: str = ""
    known: Mapping[str, Access] = field(default_factory=dict)

    def named(self, name: str) -> Access:
        """Return one context; raises NotFound."""
        if name not in self.known:
            known = ", ".join(self.known) or "none"
            raise NotFound(f"there is no context {name!r}", hint=f"Known: {known}. `fleet login URL` adds one.")
        return self.known[name]

    def using(self, name: str) -> "Contexts":
        """Make one context the current one; raises NotFound."""
        self.named(name)
        return replace(self, current=name)

    def adding(self, access: Access) -> "Contexts":
        """Add or replace a context and make it the current one."""
        return Contexts(access.name, {**self.known, access.name: access})

    def without(self, name: str) -> "Contexts":
        """Forget one context; raises NotFound."""
        self.named(name)
        left = {key: value for key, value in self.known.items() if key != name}
        return Contexts("" if self.current == name else self.current, left)


def path() -> Path:
    """Return the file of the contexts."""
    return Path(click.get_app_dir("fieldline")) / FILE


def load() -> Contexts:
    """Read the contexts; none where there is no file yet. Raises Misconfigured."""
    file = path()
    try:
        document = json.loads(file.read_text())
        known = {name: Access(name=name, **values) for name, values in document["contexts"].items()}
        return Contexts(document["current"], known)
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Remove the file and sign in again with `fleet login`."
        raise Misconfigured(f"{file} cannot be read: {error}", hint=hint) from error


def save(contexts: Contexts) -> None:
    """Write the contexts, readable by their owner only. Raises Misconfigured."""
    file = path()
    known = {name: {k: v for k, v in asdict(access).items() if k != "name"} for name, access in contexts.known.items()}
    text = json.dumps({"current": contexts.current, "contexts": known}, indent=2) + "\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f".{FILE}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
        fresh.replace(file)
    except OSError as error:
        hint = "Make the folder writable, or set FLEET_URL and FLEET_TOKEN instead."
        raise Misconfigured(f"{file} cannot be written: {error}", hint=hint) from error


def resolve(name: str | None, environ: Mapping[str, str] = os.environ) -> Access:
    """Return the access to use: a context that was named, or the environment, or the current context.

    FLEET_URL and FLEET_TOKEN each win over the current context's, but a stored token goes only to the server that it
    was stored for. Raises NotFound and Misconfigured.
    """
    if name:
        return load().named(name)
    url, token, ca = (environ.get(f"FLEET_{part}", "").strip() for part in ("URL", "TOKEN", "CA"))
    if url and token:
        return Access(clean_url(url), token, ca)
    contexts = load()
    current = contexts.named(contexts.current) if contexts.current else Access(DEFAULT_URL, "")
    if token:
        return replace(current, token=token, ca=ca or current.ca)
    if url and clean_url(url) != current.url:
        return next(
            (one for one in contexts.known.values() if one.url == clean_url(url)), Access(clean_url(url), "", ca)
        )
    return current


def clean_url(text: str) -> str:
    """Bring a server's address to one form: scheme and host, no path. Raises Misconfigured.

    Without a scheme it is https, but http on this machine itself, where the server speaks plain by default.
    """
    said = text.strip()
    if "://" not in said:
        said = f"{'http' if is_loopback(urlsplit('//' + said).hostname or '') else 'https'}://{said}"
    parts = urlsplit(said)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        hint = "Give it as https://fleet.example.com or http://127.0.0.1:8080."
        raise Misconfigured(f"{text!r} is not the address of a server", hint=hint)
    path = parts.path.rstrip("/").removesuffix("/api/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
