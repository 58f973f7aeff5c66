#!/bin/sh
# Creates the namespace once. Retention is how long closed workflows stay visible to operators.
set -eu

temporal operator namespace describe --namespace "$NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$NAMESPACE" --retention 720h
