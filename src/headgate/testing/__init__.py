"""What a test needs: the cases every engine has to pass, HTTP scenarios for any address, and a pytest plugin."""
