# docker build -t matgen --build-arg TORCH_INDEX=INDEX .                      the CPU build of PyTorch
# docker build -t matgen --build-arg TORCH_INDEX=INDEX --build-arg GPAW=1 .   and GPAW, for `matgen verify`
# docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" matgen design --bandgap 1.5
#
# INDEX is the one that PyTorch's installation page names for pip and the CPU. Without it torch comes from the usual
# index: on x86 a build for CUDA, several gigabytes larger.
FROM python:3.12-slim-bookworm AS wheel

WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY matgen ./matgen
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=
ARG GPAW=

COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /tmp/wheels

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# torch first, alone, so that the other packages find the chosen build.
RUN pip install --no-cache-dir -c /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --no-cache-dir -c /tmp/constraints.txt /tmp/wheels/*.whl \
    && rm -r /tmp/wheels

# Debian's GPAW has Debian's Python, which `matgen verify` finds in /usr/bin. Its version is that of the release.
# hadolint ignore=DL3008
RUN if [ -n "$GPAW" ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends gpaw gpaw-data \
        && rm -rf /var/lib/apt/lists/*; \
    fi

RUN useradd --create-home --uid 1000 matgen && install -d -o matgen /work
USER 1000
WORKDIR /work
ENV OMP_NUM_THREADS=1 HOME=/tmp

ENTRYPOINT ["matgen"]
CMD ["--help"]
