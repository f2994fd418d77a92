"""The smallest site: one view, which asks Connex."""

SECRET_KEY = "for-tests-only"
ROOT_URLCONF = "site_urls"
ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
USE_TZ = True
