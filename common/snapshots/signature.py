"""Signs the manifests of snapshots with a key that the cluster's processes share.

The manifest has the digest of every file, so its signature covers all of them. Without a key, the
digests reveal damage, but anyone who can write to the target decides what is restored.

Source: https://www.rfc-editor.org/rfc/rfc2104 (HMAC), with SHA-256.
"""

import hashlib
import hmac
from dataclasses import replace

from hedgerow.common.errors import SnapshotError
from hedgerow.common.snapshots.manifest import Manifest

# Part of the signed message, so that signatures with this key for other purposes are invalid.
_PURPOSE = b"hedgerow snapshot manifest"


class ManifestSigner:
    """Signs and checks the manifests of one cluster.

    Args:
        key: the secret that the cluster's processes share; None to sign and check nothing.
        key_prefix: the cluster's, so that snapshots of another cluster with this key are refused.
    """

    def __init__(self, key: str | None, key_prefix: str) -> None:
        self._key = None if key is None else key.encode(errors="surrogateescape")
        self._key_prefix = key_prefix.encode()

    def signed(self, manifest: Manifest) -> Manifest:
        """Return the manifest with its signature, if there is a key."""
        if self._key is None:
            return manifest
        return replace(manifest, signature=self._signature(self._key, manifest))

    def check(self, manifest: Manifest) -> None:
        """Check a manifest's signature, if there is a key.

        Raises:
            SnapshotError: it has none, or one of another content, key or cluster.
        """
        if self._key is None:
            return
        if not manifest.signature:
            raise SnapshotError(
                f"the snapshot {manifest.id} is not signed, but snapshots.key is set"
            )
        expected = self._signature(self._key, manifest)
        if not hmac.compare_digest(manifest.signature.encode(), expected.encode()):
            raise SnapshotError(
                f"the snapshot {manifest.id} is not signed with snapshots.key, or was changed"
            )

    def _signature(self, key: bytes, manifest: Manifest) -> str:
        message = b"\0".join((_PURPOSE, self._key_prefix, manifest.signed_content()))
        return hmac.new(key, message, hashlib.sha256).hexdigest()
