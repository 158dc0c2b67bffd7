#!/bin/sh
# Makes the file system of the stack image from Debian's packages and packs it, the same bits for the same packages.
# Arguments: folder to work in, suite, mirror, packages (with commas), architecture. Leaves layer.tar in the folder.
set -eu
work=$1 suite=$2 mirror=$3 packages=$4 arch=$5
root=$work/root

touch "$work/started"
debootstrap --variant=minbase --arch="$arch" --include="$packages" "$suite" "$root" "$mirror"

# What only an installed machine needs, what differs from build to build, and what was the building machine's own.
rm -rf "$root"/var/cache/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/tmp/* "$root"/dev/* "$root"/run/* \
  "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/lintian \
  "$root"/etc/apt/sources.list "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/machine-id \
  "$root"/etc/*- "$root"/var/lib/dpkg/*-old "$root"/var/lib/systemd
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
: >"$root/etc/machine-id"
# The day on which a password was last changed is the day of the build.
sed -i 's/^\([^:]*:[^:]*\):[0-9]*:/\1:1:/' "$root/etc/shadow"
# No program gives more rights than its caller has.
find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +

# Where a droplet, its short name, and the node's own Node appear.
mkdir -p "$root/home/vcap" "$root/opt/peer/node/bin"
ln -s home/vcap/app "$root/app"
ln -s home/vcap/layers "$root/layers"

# What was made during the build gets the time of a packaged file; packaged files keep theirs, which Python compares.
find "$root" -xdev -newer "$work/started" -exec touch -h -r "$root/etc/debian_version" {} +
tar --sort=name --numeric-owner --owner=0 --group=0 --format=gnu -C "$root" -cf "$work/layer.tar" .
