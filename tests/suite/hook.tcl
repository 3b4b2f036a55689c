# Runs the test suite of Redis or Valkey as it is, from its own directory, and reports each finished test on the port
# SUITE_PORT. The suite goes on once that is answered, so both servers can be compared while nothing writes.

set ::suite_hook [file normalize [info script]]

# The suite starts its client as `tclsh [info script]`: start this file again in its place.
rename exec suite_exec
proc exec {args} {
    set at [lsearch -exact $args tests/test_helper.tcl]
    if {$at >= 0} {lset args $at $::suite_hook}
    uplevel 1 [list suite_exec {*}$args]
}

rename source suite_source
proc source {args} {
    set result [uplevel 1 [list suite_source {*}$args]]
    if {[string match *support/test.tcl [lindex $args end]]} {
        rename test suite_test
        proc test {name args} {
            suite_know_pid
            set code [catch {uplevel 1 [list suite_test $name {*}$args]} result options]
            suite_report $name
            return -options $options $result
        }
    }
    if {[info exists ::env(SUITE_EVEN_SKIPPED)] && [string match *support/server.tcl [lindex $args end]]} {
        rename tags_acceptable suite_tags_acceptable
        proc tags_acceptable {tags reason} {
            upvar 1 $reason why
            # A server within a server would be the same one again, made a replica of itself.
            if {[lindex [info level -1] 0] eq {start_server} && [llength $::servers]} {
                return [suite_tags_acceptable $tags why]
            }
            return [suite_tags_acceptable [lsearch -all -inline -not -exact $tags external:skip] why]
        }
    }
    return $result
}

# Tests that wait for the server's children ask for its process id, which the suite lacks of an external server.
proc suite_know_pid {} {
    if {[info procs suite_srv] ne {}} return
    rename srv suite_srv
    proc srv {args} {
        if {[lindex $args end] eq {pid}} {return $::env(SUITE_PID)}
        return [suite_srv {*}$args]
    }
}

proc suite_report {name} {
    if {![info exists ::suite_fd]} {
        set ::suite_fd [socket 127.0.0.1 $::env(SUITE_PORT)]
        fconfigure $::suite_fd -encoding utf-8 -translation lf
    }
    puts $::suite_fd [string map {"\n" " "} $name]
    flush $::suite_fd
    gets $::suite_fd
}

source tests/test_helper.tcl
