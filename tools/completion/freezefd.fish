# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for freezefd(1). Verbs, options and columns are those that --help of the installed tool tells.

function __freezefd_options --argument-names verb
    freezefd $verb --help 2>/dev/null | string match -r '^  .*--.*' |
        string replace -rf '^  (?:(-[a-zA-Z]),|   ) (--[a-z-]+)(?: [A-Z]+|\[=[A-Z]+\])?  +(.*)$' '$1\t$3\n$2\t$3' |
        string match -r '^-.*'
end

function __freezefd_verbs
    freezefd --help 2>/dev/null | string replace -rf '^  ([a-z]+)  +(.*)$' '$1\t$2'
    printf '%s\n' --help --version
end

# The last one of a list with commas.
function __freezefd_columns --argument-names verb current
    set -l before (string match -r '^(?:.*,|\+)' -- $current)
    freezefd $verb --help 2>/dev/null | sed -n '/^Columns:/,$ p' |
        string replace -rf '^  ([A-Z]+)  +(.*)$' "$before\$1\t\$2"
end

function __freezefd_times --argument-names current
    string match -qr '^[0-9.]+$' -- $current
    and printf '%s\n' $current{ms,s,m,h}
end

function __freezefd_targets --argument-names current
    # What is odd in a path comes as \xHH.
    findmnt -rno TARGET --real 2>/dev/null | while read -l path
        printf '%b\tmount point\n' $path
    end
    __fish_complete_path $current
end

# Of the option: what its value can be.
function __freezefd_values --argument-names verb option current
    switch $option
        case -t --timeout -w --within -i --interval
            __freezefd_times $current
        case -o --output
            __freezefd_columns $verb $current
        case -x --exclude
            __freezefd_targets $current
        case --report --metrics
            __fish_complete_path $current
        case '*'
            return 1
    end
    return 0
end

function __freezefd_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    if not set -q words[2]
        __freezefd_verbs
        return
    end
    set -l verb $words[2]
    set -l dashes (contains -i -- -- $words)
    if set -q dashes[1]; and contains $verb run guard
        # What comes after it is a command line of its own.
        complete -C (string join ' ' -- (string escape -- $words[(math $dashes + 1)..]) $current)
        return
    end
    set -l pair (string match -r '^(--[a-z-]+)=(.*)' -- $current)
    if set -q pair[1]
        set -l values (__freezefd_values $verb $pair[2] $pair[3])
        printf '%s\n' $pair[2]=$values
        return
    end
    # The value of --metrics is in one word with it.
    test "$words[-1]" = --metrics
    or __freezefd_values $verb $words[-1] $current
    and return
    if string match -q -- '-*' $current
        __freezefd_options $verb
        return
    end
    switch $verb
        case release
            for socket in /run/freezefd/*.sock
                string replace -r '.*/(.*)\.sock$' '$1' -- $socket
            end
        case status run hold thaw monitor
            __freezefd_targets $current
    end
end

complete -c freezefd -f -a '(__freezefd_complete)'
