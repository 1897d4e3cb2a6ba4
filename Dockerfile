# A static binary on an empty base: no shell, no package manager, not root.
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t rotatord .
#   docker run -v rotatord-data:/data -v ./rotatord.yaml:/data/rotatord.yaml:ro rotatord
# The database, its lock, the socket and the seal key are in /data: keep it on a local disk.
# For /healthz and /metrics from outside the container: server: {listen: 0.0.0.0:8790}.
# An exec deployer or probe needs its command in the image: build one FROM a base that has it.

ARG GO_VERSION=1.26.8
FROM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags "-s -w -X main.version=${VERSION}" -o /out/rotatord ./cmd/rotatord \
 && mkdir -p /out/data /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/rotatord /rotatord
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
COPY --from=build --chown=65532:65532 --chmod=0700 /out/tmp /tmp
USER 65532:65532
WORKDIR /data
ENTRYPOINT ["/rotatord"]
CMD ["serve"]
