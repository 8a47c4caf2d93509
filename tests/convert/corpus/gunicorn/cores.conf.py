import multiprocessing

bind = "0.0.0.0:8010"
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "gthread"
threads = 3
wsgi_app = "shop.wsgi:application"
