#!/bin/sh
# The first process of a node: an SSH server until the deadline. When it ends, the container is gone.
set -eu
umask 077
trap 'exit 0' TERM INT
left=$((MLB_DEADLINE - $(date +%s)))
[ "$left" -gt 0 ] || exit 0
mkdir -p /root/.ssh /run/sshd
chmod 755 /run/sshd
printf '%s\n' "$MLB_AUTHORIZED_KEY" >/root/.ssh/authorized_keys
[ -f /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -D -e -o HostKey=/etc/ssh/ssh_host_ed25519_key -o PasswordAuthentication=no -o UseDNS=no \
  -o PermitRootLogin=prohibit-password -o MaxStartups=100:30:200 -o AcceptEnv='MLB_*' &
# Its name and last argument are how `mlb` sees that the deadline is armed.
sh -c 'sleep "$1"; exit 0' mlb-deadline "$left" &
wait "$!"
