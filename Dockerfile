# The portal in an image: one static-enough binary on a slim Debian, no root, one volume.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY assets assets
COPY benches benches
COPY tests tests
# What `nightdrop --version` says it was built from: docker build --build-arg NIGHTDROP_COMMIT=$(git rev-parse --short=12 HEAD) .
ARG NIGHTDROP_COMMIT
RUN cargo build --locked --release --bin nightdrop

FROM debian:bookworm-slim
# Certificates of the public authorities: providers are spoken to by https.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 nightdrop && useradd --system --uid 10001 --gid 10001 --home-dir /data nightdrop && install -d -o nightdrop -g nightdrop -m 0700 /data
COPY --from=build /src/target/release/nightdrop /usr/local/bin/nightdrop
USER 10001:10001
WORKDIR /data
VOLUME /data
# The applicants' page and the staff door. Keep the second one off the internet.
EXPOSE 8080 8081
ENV NIGHTDROP_CONFIG=/data/nightdrop.toml
# From outside of a container its own loopback cannot be reached. Publish the port to this machine alone: -p 127.0.0.1:8081:8081
ENV NIGHTDROP_LISTEN_STAFF=0.0.0.0:8081
# A first start without a configuration says how to make one with this image.
ENV NIGHTDROP_IMAGE=nightdrop
# Uploads in progress get 25 seconds to end: stop it with a grace of 40 or more (docker stop --time 45; docs/operations/containers.md).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["nightdrop", "doctor", "--ready"]
ENTRYPOINT ["nightdrop"]
CMD ["serve"]
