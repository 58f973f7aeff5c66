"""The kill paths' two ends: the switch that waits, and the watch in every process that sends."""
