# The first process of a machine of a test's own, in namespaces of its own: what it starts ends with
# it, whatever it is, and its mounts and its network with that. It lives as long as somebody holds
# its standard input open.
#   init.sh FOLDER
folder=$1
mount -t proc proc /proc
ip link set lo up
# Asked at this address Caddy's ports are led to it by the engine's rules, as for a visitor from
# outside; at 127.0.0.1 by a process of the engine's, which ends with it.
ip addr add 192.0.2.1/32 dev lo
sysctl -qw net.ipv4.ip_forward=1
echo ready
while read -r _; do :; done

kill -9 -1
while read -r _ mount _; do
  case $mount in "$folder"/*) mounts="$mount $mounts" ;; esac
done </proc/mounts
for mount in $mounts; do umount -l "$mount"; done
rm -rf "$folder"
find /sys/fs/cgroup -depth -type d -path "*/${folder##*/}*" -exec rmdir {} +
