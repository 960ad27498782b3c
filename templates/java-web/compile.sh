#!/bin/sh
# compile.sh DIRECTORY SOURCES…: compile into a directory, with the page next to the classes.
set -eu
classes=$1
shift
mkdir -p "$classes/web"
javac -Xlint:all -d "$classes" $(find "$@" -name '*.java')
cp src/web/page.html "$classes/web"
