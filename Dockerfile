# One image for both programs: `gateway serve` (the default) and `shard-worker`.
#
# All packages are pinned and hashed (requirements*.lock) and compiled to byte code that does not
# depend on file times. They are copied into the final stage, which contains neither build tools nor
# package caches.

FROM python:3.13-slim AS pip
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build


# What writes the bill of materials. Installed while the next stage installs the rest; used once, so
# not compiled.
FROM pip AS audit
RUN python -m venv --without-pip /opt/audit
COPY requirements-audit.lock ./
RUN python -m pip --python /opt/audit install --no-compile --require-hashes --only-binary :all: \
        --requirement requirements-audit.lock


FROM pip AS build
RUN python -m venv --without-pip /opt/backend && python -m venv --without-pip /opt/hedgerow

COPY requirements-build.lock requirements.lock ./
RUN python -m pip --python /opt/backend install --require-hashes --requirement requirements-build.lock
RUN python -m pip --python /opt/hedgerow install --no-compile --require-hashes --only-binary :all: \
        --requirement requirements.lock \
 && /opt/hedgerow/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        /opt/hedgerow/lib

COPY pyproject.toml README.md LICENSE ./
COPY hedgerow/__init__.py hedgerow/__main__.py hedgerow/py.typed hedgerow/
COPY common common
COPY gateway gateway
COPY shard_worker shard_worker
# File times in the wheel are fixed, so that the same sources give the same bytes.
RUN export SOURCE_DATE_EPOCH=1577836800 \
 && /opt/backend/bin/python -m hatchling build --target wheel --directory dist \
 && python -m pip --python /opt/hedgerow install --no-compile --no-index --no-deps dist/*.whl \
 && /opt/hedgerow/bin/python -m compileall -q --invalidation-mode unchecked-hash \
        /opt/hedgerow/lib/python3*/site-packages/hedgerow

# The bill of materials, from the installed packages; without a time, so that it is reproducible.
RUN --mount=type=bind,from=audit,source=/opt/audit,target=/opt/audit \
    mkdir -p /opt/hedgerow/share/hedgerow \
 && /opt/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
        --output-reproducible --output-format JSON \
        --output-file /opt/hedgerow/share/hedgerow/sbom.cdx.json /opt/hedgerow/bin/python \
 && chmod 644 /opt/hedgerow/share/hedgerow/sbom.cdx.json


FROM python:3.13-slim
LABEL org.opencontainers.image.title="Hedgerow" \
      org.opencontainers.image.description="Scatter-gather serving: gateway and shard worker" \
      org.opencontainers.image.licenses="Apache-2.0"

# A new volume that is mounted at /data or /snapshots takes over the owner of this folder.
RUN groupadd --gid 10001 hedgerow \
 && useradd --uid 10001 --gid hedgerow --no-create-home --home-dir /app --shell /usr/sbin/nologin \
        hedgerow \
 && install --directory --mode=0700 --owner=hedgerow --group=hedgerow /data /snapshots \
 && install --directory /app
COPY --from=build /opt/hedgerow /opt/hedgerow

ENV PATH=/opt/hedgerow/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=270336 \
    HEDGEROW_DATA=/data \
    HEDGEROW_GATEWAY__HOST=0.0.0.0 \
    HEDGEROW_LOG_FORMAT=json

# /app is empty: users mount hedgerow.toml and their ranking code there.
USER 10001:10001
WORKDIR /app
EXPOSE 8080
CMD ["gateway", "serve"]
