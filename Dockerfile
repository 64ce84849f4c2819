# The portal in an image: one static-enough binary on a slim Debian, no root, one volume.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY assets assets
COPY benches benches
COPY tests tests
RUN cargo build --locked --release --bin nightdrop

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data nightdrop && install -d -o nightdrop -g nightdrop -m 0700 /data
COPY --from=build /src/target/release/nightdrop /usr/local/bin/nightdrop
USER nightdrop
WORKDIR /data
VOLUME /data
# The applicants' page and the staff door. Keep the second one off the internet.
EXPOSE 8080 8081
# glibc keeps a heap for each thread otherwise.
ENV MALLOC_ARENA_MAX=2
ENV NIGHTDROP_CONFIG=/data/nightdrop.toml
HEALTHCHECK --interval=30s --timeout=5s CMD ["nightdrop", "doctor", "--ready"]
ENTRYPOINT ["nightdrop"]
CMD ["serve"]
