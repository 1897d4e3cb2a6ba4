#!/bin/sh
# Unpacks moto, and the Python packages of this Debian that it needs, into the
# folder $1, with lists and archives of its own: nothing is installed on the
# machine, and its own package lists stay as they are. No root is needed.
# Exit code 77: it can't be had here. $2 is the release of Debian that has moto.
set -eu
target=$1 release=$2
for tool in apt-get dpkg-deb awk /usr/bin/python3; do
  command -v "$tool" >/dev/null || { echo "there is no $tool" >&2; exit 77; }
done
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mkdir -p "$target/lists/partial" "$target/cache/archives/partial" "$target/root"
# This machine's own source of Debian's main archive, as it is and for the other release.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ ! -f "$file" ] || awk -v from="$codename" -v to="$release" '$1 == "deb" {
    for (i = 2; i < NF; i++) if ($i == from) { print; $i = to; print; next }
  }' "$file"
done >"$target/own.list"
for file in /etc/apt/sources.list.d/*.sources; do
  [ ! -f "$file" ] || awk -v RS= -v from="$codename" -v to="$release" '
    match($0, /(^|\n)Suites:[^\n]*/) && index(substr($0, RSTART, RLENGTH) " ", " " from " ") {
      print $0 "\n"; sub(/Suites:[^\n]*/, "Suites: " to); print $0 "\n"
    }' "$file"
done >"$target/own.sources"
[ -n "$codename" ] && [ -s "$target/own.list" ] || [ -s "$target/own.sources" ] || { echo "apt has no source of Debian $codename" >&2; exit 77; }
mkdir -p "$target/parts"
mv "$target/own.list" "$target/own.sources" "$target/parts/"
apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dir::Etc::sourcelist=- -o Dir::Etc::sourceparts="$target/parts" \
    -o Dir::State::lists="$target/lists" -o Dir::Cache="$target/cache" -o APT::Default-Release="$codename" -o APT::Sandbox::User=root \
    -o Debug::NoLocking=1 -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@" </dev/null
}
apt update
(cd "$target/cache/archives" && apt download "python3-moto/$release")
apt --no-install-recommends --download-only install python3-boto3 python3-cryptography python3-flask python3-flask-cors python3-jinja2 \
  python3-multipart python3-pyparsing python3-responses python3-werkzeug python3-xmltodict python3-yaml python3-antlr4
for package in "$target"/cache/archives/*.deb; do dpkg-deb -x "$package" "$target/root"; done
rm -rf "$target/cache" "$target/lists" "$target/parts"
