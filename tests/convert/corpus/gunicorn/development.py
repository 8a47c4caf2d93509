wsgi_app = "hello:app"
reload = True
reload_engine = "poll"
reload_extra_files = ["hello.py"]
spew = False
check_config = False
debug = True
loglevel = "debug"
