# Copies what a droplet needs of the staging node's system, so that it runs on any node with the same stack: interpreters'
# libraries, but never those of glibc, which belong to the stack's kernel interface and loader. Sourced after pack.sh.

# Parts of glibc: the loader takes only its own.
GLIBC='^(ld-linux.*|libc|libm|libmvec|libdl|libpthread|librt|libresolv|libutil|libanl|libnss_.*|libthread_db|libBrokenLocale)\.so'

# carry_libraries INTO FILE|FOLDER…: the shared libraries that programs and modules there are linked with.
carry_libraries() {
  local into=$1 library name
  shift
  mkdir -p "$into"
  while read -r library; do
    name=${library##*/}
    if [[ $name =~ $GLIBC || $library == "$build"/* ]]; then continue; fi
    [ -e "$into/$name" ] || cp -L -- "$library" "$into/$name"
  done < <(find "$@" -type f \( -perm -u+x -o -name '*.so' -o -name '*.so.*' \) -exec ldd {} + 2>/dev/null |
    sed -n 's/^.* => \(\/[^ ]*\) .*$/\1/p' | sort -u)
}

# carry_scripts INTO INTERPRETER FILE…: scripts whose first line names an interpreter at a fixed place, made to find it on the path.
carry_scripts() {
  local into=$1 interpreter=$2 file
  shift 2
  mkdir -p "$into"
  for file in "$@"; do
    # Only what is a script of that interpreter.
    if head -c 64 "$file" 2>/dev/null | head -n 1 | tr -d '\0' | grep -qE "^#!.*[/ ]$interpreter[0-9.]*( |$)"; then
      sed "1s|^#!.*|#!/usr/bin/env $interpreter|" "$file" >"$into/.new"
      chmod 755 "$into/.new"
      mv "$into/.new" "$into/${file##*/}"
    fi
  done
}
