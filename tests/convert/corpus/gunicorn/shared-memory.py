wsgi_app = "hello:app"
worker_tmp_dir = "/dev/shm"
tmp_upload_dir = None
chdir = "/srv/shop"
pythonpath = "/srv/shop/lib,/srv/shop/vendor"
raw_env = ["DB_HOST=db.internal", "DB_NAME=shop"]
proc_name = "shop-web"
initgroups = True
