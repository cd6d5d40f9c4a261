#!/usr/bin/env bash
# A real SSH server on a free loopback port, with keys of its own, for the tests of SSH remotes.
#   sshd.sh start FOLDER    makes FOLDER/port, FOLDER/id (the key that may log in) and the server's files
#   sshd.sh stop FOLDER
set -euo pipefail
action=$1
folder=$(cd "$2" && pwd)
server=$(PATH=$PATH:/usr/sbin command -v sshd)

start() {
  ssh-keygen -q -t ed25519 -N '' -f "$folder/host"
  ssh-keygen -q -t ed25519 -N '' -f "$folder/id"
  [ "$(id -u)" != 0 ] || mkdir -p /run/sshd # where the server of root gives up its rights
  for _ in {1..20}; do
    port=$((20000 + RANDOM % 40000))
    cat >"$folder/config" <<EOF
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host
AuthorizedKeysFile $folder/id.pub
PidFile $folder/pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
EOF
    if "$server" -f "$folder/config" -E "$folder/log"; then # a port that is taken makes it fail
      echo "$port" >"$folder/port"
      return
    fi
  done
  cat "$folder/log" >&2
  exit 1
}

stop() {
  pid=$(cat "$folder/pid")
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

"$action"
