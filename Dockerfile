# SPDX-License-Identifier: BSD-3-Clause
# Build:  docker build -t lagan .
# Run:    docker run --rm --cap-add IPC_LOCK -v /etc/lagan:/etc/lagan -v /run/lagan:/run/lagan lagan
# Both stages install from the one list of packages, tools/packages.txt.

FROM debian:12 AS build
WORKDIR /src
COPY tools/packages.txt tools/lib.sh tools/setup tools/
RUN tools/setup --group build
COPY . .
RUN meson setup /build --buildtype=release --prefix=/usr --strip \
    && ninja -C /build \
    && DESTDIR=/stage meson install -C /build --no-rebuild

FROM debian:12-slim
COPY tools/packages.txt tools/lib.sh tools/setup /usr/share/lagan/tools/
RUN /usr/share/lagan/tools/setup --group run \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*
COPY --from=build /stage/ /
COPY LICENSE /usr/share/doc/lagan/LICENSE
ENTRYPOINT ["/usr/bin/lagand"]
CMD ["--config", "/etc/lagan/lagand.toml"]
