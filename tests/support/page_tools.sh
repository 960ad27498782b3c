# Functions for the hidden set-ups of the documents, sourced by every session; see support/page_session.py.

# Run a program until the page ends.
in_background() {
  setsid "$@" > "$PAGE/background" 2>&1 &
  echo $! >> "$PAGE/pids"
}

# Start a registry on loopback, which answers for docker.io, ghcr.io and registry.example.org.
serve_registry() {
  registry=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp: { addr: "%s" }\nlog: { level: error }\n' \
    "$PAGE/registry" "$registry" > "$PAGE/registry.yml"
  in_background docker-registry serve "$PAGE/registry.yml"
  curl -fsS --retry 100 --retry-connrefused --retry-delay 1 --retry-max-time 30 -o /dev/null "http://$registry/v2/"
  export DEVBOX_REGISTRY_MIRRORS="docker.io=http://$registry,ghcr.io=http://$registry,registry.example.org=http://$registry"
  devbox() { command devbox "${@//registry.example.org/$registry}"; }
}
