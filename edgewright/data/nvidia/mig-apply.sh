#!/bin/sh
# Written by Edgewright (role nvidia); changes made here are undone by the next run.
#
# Make the MIG layout of each GPU what it is declared to be: mig-apply GPU=PROFILE,PROFILE... [GPU=...]
# GPU is an index, or `all`. No profiles mean MIG off. A GPU whose layout is right is left alone, so that
# nothing that runs on it is disturbed. GPU instances do not outlive a boot: a unit runs this before the runtime.
set -eu

layout() { # the profiles of a GPU, sorted, one line
	nvidia-smi -i "$1" -L | sed -n 's/^ *MIG \([0-9]*c\.\)\{0,1\}\([^ ]*\) .*/\2/p' | sort | paste -s -d, -
}

mode() {
	nvidia-smi -i "$1" --query-gpu=mig.mode.current --format=csv,noheader
}

switch() { # GPU Enabled|Disabled 1|0
	[ "$(mode "$1")" = "$2" ] && return 0
	nvidia-smi -i "$1" -mig "$3"
	# From Hopper on the mode changes at once; before, only a reset of the idle GPU makes the pending mode current.
	[ "$(mode "$1")" = "$2" ] || nvidia-smi -i "$1" --gpu-reset
	[ "$(mode "$1")" = "$2" ] || {
		echo "mig-apply: GPU $1: MIG mode is $(mode "$1") after the switch, expected $2; something holds the GPU: stop it, or reboot" >&2
		return 1
	}
}

apply() { # GPU PROFILES
	wanted=$(printf '%s' "$2" | tr , '\n' | sort | paste -s -d, -)
	if [ -z "$wanted" ]; then
		[ "$(mode "$1")" = "Enabled" ] || return 0
	elif [ "$(mode "$1")" = "Enabled" ] && [ "$(layout "$1")" = "$wanted" ]; then
		echo "mig-apply: GPU $1 has $wanted already"
		return 0
	fi
	if [ "$(mode "$1")" = "Enabled" ] && [ -n "$(layout "$1")" ]; then
		nvidia-smi mig -i "$1" -dci
		nvidia-smi mig -i "$1" -dgi
	fi
	if [ -z "$wanted" ]; then
		switch "$1" Disabled 0
		return 0
	fi
	switch "$1" Enabled 1
	nvidia-smi mig -i "$1" -cgi "$2" -C
	[ "$(layout "$1")" = "$wanted" ] || {
		echo "mig-apply: GPU $1: expected $wanted, got $(layout "$1")" >&2
		return 1
	}
}

[ $# -gt 0 ] || {
	echo "mig-apply: nothing to do: name GPU=PROFILE,PROFILE..." >&2
	exit 2
}
for each in "$@"; do
	gpus=${each%%=*}
	[ "$gpus" = all ] && gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader)
	[ -n "$gpus" ] || {
		echo "mig-apply: nvidia-smi lists no GPU" >&2
		exit 1
	}
	for gpu in $gpus; do
		apply "$gpu" "${each#*=}"
	done
done
