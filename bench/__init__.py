"""How fast, as ratios within one run: machines are shared and noisy, so single times mean little."""
