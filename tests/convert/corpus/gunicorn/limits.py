wsgi_app = "hello:app"
limit_request_line = 6000
limit_request_fields = 80
limit_request_field_size = 0
header_map = "refuse"
strip_header_spaces = False
permit_unconventional_http_method = True
