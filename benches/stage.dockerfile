
# build: compiles the program
FROM --platform=$BUILDPLATFORM docker.io/library/debian:12 AS build
ARG VERSION=1.2.3 REVISION
ENV PATH="/opt/bin:$PATH" LANG=C.UTF-8 \
    # what the compiler is told
    CFLAGS='-O2 -g'
WORKDIR /src
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=bind,source=.,target=/context,ro \
    apt-get update && \
    apt-get install -y --no-install-recommends gcc make && \
    rm -rf /var/lib/apt/lists/*
COPY --chown=1000:1000 --exclude=*.o ["Makefile", "src dir/", "./"]
RUN <<EOF
set -e
make -j"$(nproc)"
make install DESTDIR=/out
EOF
LABEL org.opencontainers.image.version=$VERSION
HEALTHCHECK --interval=30s --timeout=5s CMD ["/usr/bin/program", "--check"]
ENTRYPOINT ["/usr/bin/program"]
