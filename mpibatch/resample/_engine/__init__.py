"""What all resampling stands on: boxes of any cells, coefficients of cut lines, and values between cells."""
