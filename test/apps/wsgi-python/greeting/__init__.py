def text():
    return "hello from wsgi"
