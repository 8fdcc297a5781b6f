#!/usr/bin/env bash
# Makes build/dunlin_VERSION_ARCH.deb of the release binary: program, systemd unit, default configuration, documents. Shared libraries
# become dependencies by what dpkg-shlibdeps finds in the binary. usage: tools/package.sh [BINARY]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${1:-build/release/dunlin}
[ -x "$binary" ] || { echo "no $binary: run ./x build" >&2; exit 1; }
version=$(sed -n 's/.*kVersion = "\(.*\)";/\1/p' src/base/version.h)
arch=$(dpkg --print-architecture)
work=build/package
root=$work/root
package=build/dunlin_${version}_${arch}.deb

rm -rf "$work"
install -d "$root/DEBIAN" "$root/usr/share/doc/dunlin" "$root/etc/dunlin"
install -D -m 0755 "$binary" "$root/usr/bin/dunlin"
strip --strip-unneeded "$root/usr/bin/dunlin"
install -D -m 0644 deploy/systemd/dunlin.service "$root/lib/systemd/system/dunlin.service"
install -m 0644 deploy/dunlin.yaml "$root/etc/dunlin/dunlin.yaml"
for page in README.md CHANGELOG.md docs/guarantees.md docs/operating/*.md; do
  [ ! -f "$page" ] || install -m 0644 "$page" "$root/usr/share/doc/dunlin/"
done
install -m 0644 LICENSE "$root/usr/share/doc/dunlin/copyright"
for script in postinst prerm postrm; do install -m 0755 "deploy/debian/$script" "$root/DEBIAN/$script"; done
echo /etc/dunlin/dunlin.yaml >"$root/DEBIAN/conffiles"

# dpkg-shlibdeps wants a debian/control beside it, though it reads only the source's name.
install -d "$work/shlibdeps/debian"
printf 'Source: dunlin\n\nPackage: dunlin\nArchitecture: any\n' >"$work/shlibdeps/debian/control"
depends=$(cd "$work/shlibdeps" && dpkg-shlibdeps -O -e../root/usr/bin/dunlin 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "dpkg-shlibdeps found no dependencies" >&2; exit 1; }

cat >"$root/DEBIAN/control" <<CONTROL
Package: dunlin
Version: $version
Architecture: $arch
Maintainer: Dunlin maintainers <maintainers@dunlin.invalid>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends, passwd
Section: net
Priority: optional
Description: instant-messaging server
 Private chat over WebSocket and TCP for applications that bring
 their own users. One program without further services: messages are durable
 before they are acknowledged and reach every device in order.
CONTROL

dpkg-deb --root-owner-group --build "$root" "$package" >&2
echo "$package"
