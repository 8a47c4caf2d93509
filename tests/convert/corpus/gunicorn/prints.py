# What it prints must not become part of the result.
print("workers: 2")
workers = 2
wsgi_app = "hello:app"
assert __name__ == "__config__"
