"""Credentials of many kinds, made at run time so that no scanner takes this file for a leak.

A form is a list of pieces that are joined, in which `[class]{count}` stands for random characters.
"""

from __future__ import annotations

import base64
import random
import re
import string

_CHANCE = random.Random(20261126)
_PIECE = re.compile(r"\[([^\]]+)\]\{(\d+)\}")
_CLASSES = {
    "a-z": string.ascii_lowercase,
    "A-Z": string.ascii_uppercase,
    "0-9": string.digits,
    "a-f": "abcdef",
    "A-F": "ABCDEF",
    "2-7": "234567",
    "B32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}


def made(*form: str) -> str:
    """A credential of this form."""
    return _PIECE.sub(lambda found: "".join(_CHANCE.choices(_alphabet(found[1]), k=int(found[2]))), "".join(form))


def token(four: str) -> str:
    """A GitHub token that repeats these four characters."""
    return "ghp_" + four * 9


def _alphabet(spelled: str) -> str:
    ranges = re.findall(r"B32|.-.|.", spelled)
    return "".join(_CLASSES.get(each, each) for each in ranges)


_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"
_JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6[A-Za-z0-9_-]{40}.[A-Za-z0-9_-]{43}"

# The second text is what stands around it, {} in its place. A kind whose value has a form of its own stands alone.
FORMS: dict[str, tuple[tuple[str, ...], str]] = {
    "OpenAI": (("sk-", "[A-Za-z0-9]{20}T3Bl", "bkFJ[A-Za-z0-9]{20}"), "{}"),
    "OpenAI project": (("sk-", "proj-[A-Za-z0-9_-]{74}T3Bl", "bkFJ[A-Za-z0-9_-]{74}"), "{}"),
    "OpenAI service account": (("sk-", "svcacct-[A-Za-z0-9_-]{74}T3Bl", "bkFJ[A-Za-z0-9_-]{74}"), "{}"),
    "OpenAI of an unknown make": (("sk-", "proj-[A-Za-z0-9_-]{74}"), "{}"),
    "DeepSeek": (("sk-", "[0-9a-f]{32}"), "{}"),
    "Moonshot": (("sk-", "[A-Za-z0-9]{48}"), "{}"),
    "Jina": (("ji", "na_[A-Za-z0-9_-]{60}"), "{}"),
    "Neon": (("na", "pi_[a-z0-9]{60}"), "{}"),
    "Render": (("rn", "d_[A-Za-z0-9]{32}"), "{}"),
    "Sentry organisation": (("sn", "trys_[A-Za-z0-9]{140}"), "{}"),
    "Vercel Blob": (("vercel", "_blob_rw_[A-Za-z0-9]{16}_[A-Za-z0-9]{30}"), "{}"),
    "session cookie": (("[A-Za-z0-9]{40}",), "Set-Cookie: theme=dark; session_id={}; HttpOnly"),
    "session cookie of curl": (("[A-Za-z0-9_-]{40}",), "curl -H 'Cookie: sessionid={}' https://shop.example"),
    "Anthropic": (("sk-", "ant-api03-[A-Za-z0-9_-]{93}AA"), "{}"),
    "Anthropic admin": (("sk-", "ant-admin01-[A-Za-z0-9_-]{93}AA"), "{}"),
    "Anthropic OAuth": (("sk-", "ant-oat01-[A-Za-z0-9_-]{93}AA"), "{}"),
    "OpenRouter": (("sk-", "or-v1-[0-9a-f]{64}"), "{}"),
    "Groq": (("gs", "k_[A-Za-z0-9]{52}"), "{}"),
    "xAI": (("xa", "i-[A-Za-z0-9]{80}"), "{}"),
    "Perplexity": (("pp", "lx-[A-Za-z0-9]{48}"), "{}"),
    "Replicate": (("r8", "_[A-Za-z0-9]{37}"), "{}"),
    "Hugging Face": (("hf", "_[A-Za-z]{34}"), "{}"),
    "Google API key": (("AI", "za[A-Za-z0-9_-]{35}"), "{}"),
    "Google OAuth token": (("ya", "29.a0[A-Za-z0-9_-]{120}"), "{}"),
    "Google OAuth secret": (("GOC", "SPX-[A-Za-z0-9_-]{28}"), "{}"),
    "Google refresh token": (("1/", "/0[A-Za-z0-9_-]{60}"), "refresh_token={}"),
    "AWS access key": (("AK", "IA[A-Z2-7]{16}"), "{}"),
    "AWS temporary key": (("AS", "IA[A-Z2-7]{16}"), "{}"),
    "AWS secret key": (("[A-Za-z0-9/+]{40}",), "aws_secret_access_key = {}"),
    "AWS Bedrock key": (("ABS", "KQmVkcm9ja0FQSUtleS[A-Za-z0-9+/]{110}="), "{}"),
    "Azure storage key": (("[A-Za-z0-9+/]{86}==",), "DefaultEndpointsProtocol=https;AccountName=ann;AccountKey={};"),
    "Azure client secret": (("[A-Za-z0-9]{3}8Q~[A-Za-z0-9_.~-]{34}",), "{}"),
    "GitHub": (("gh", "p_[A-Za-z0-9]{36}"), "{}"),
    "GitHub OAuth": (("gh", "o_[A-Za-z0-9]{36}"), "{}"),
    "GitHub app": (("gh", "s_[A-Za-z0-9]{36}"), "{}"),
    "GitHub fine-grained": (("github", "_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"), "{}"),
    "GitLab": (("gl", "pat-[A-Za-z0-9_-]{20}"), "{}"),
    "GitLab runner": (("gl", "rt-[A-Za-z0-9_-]{20}"), "{}"),
    "Bitbucket": (("AT", "BB[A-Za-z0-9]{32}"), "{}"),
    "Atlassian": (("ATAT", "T3xFfGF0[A-Za-z0-9_=-]{180}"), "{}"),
    "Slack bot": (("xo", "xb-[0-9]{12}-[0-9]{12}-[A-Za-z0-9]{24}"), "{}"),
    "Slack user": (("xo", "xp-[0-9]{12}-[0-9]{12}-[0-9]{12}-[a-f0-9]{32}"), "{}"),
    "Slack app": (("xa", "pp-1-A[A-Z0-9]{10}-[0-9]{13}-[a-f0-9]{64}"), "{}"),
    "Slack webhook": (("https://hooks.slack", ".com/services/T[A-Z0-9]{8}/B[A-Z0-9]{10}/[A-Za-z0-9]{24}"), "{}"),
    "Stripe": (("sk", "_live_[A-Za-z0-9]{24}"), "{}"),
    "Stripe test": (("sk", "_test_[A-Za-z0-9]{24}"), "{}"),
    "Stripe restricted": (("rk", "_live_[A-Za-z0-9]{24}"), "{}"),
    "Stripe long": (("sk", "_live_51[A-Za-z0-9]{97}"), "{}"),
    "SendGrid": (("S", "G.[A-Za-z0-9_-]{22}.[A-Za-z0-9_-]{43}"), "{}"),
    "Twilio": (("S", "K[0-9a-f]{32}"), "TWILIO_API_KEY={}"),
    "Twilio auth token": (("[0-9a-f]{32}",), "TWILIO_AUTH_TOKEN={}"),
    "Mailgun": (("ke", "y-[0-9a-f]{32}"), "{}"),
    "Mailchimp": (("[0-9a-f]{32}-us12",), "MAILCHIMP_API_KEY={}"),
    "Square": (("EAA", "A[A-Za-z0-9_-]{60}"), "SQUARE_ACCESS_TOKEN={}"),
    "Square secret": (("sq0", "csp-[A-Za-z0-9_-]{43}"), "{}"),
    "Discord bot": (("M[A-Za-z0-9]{25}.G[A-Za-z0-9_-]{5}.[A-Za-z0-9_-]{38}",), "{}"),
    "Discord webhook": (("https://discord", ".com/api/webhooks/[0-9]{18}/[A-Za-z0-9_-]{68}"), "{}"),
    "Heroku": (("HR", "KU-AA[A-Za-z0-9_-]{58}"), "{}"),
    "Heroku UUID": ((_UUID,), "HEROKU_API_KEY={}"),
    "npm": (("np", "m_[A-Za-z0-9]{36}"), "{}"),
    "npm line": ((_UUID,), "//registry.example/:_authToken={}"),
    "PyPI": (("pypi-", "AgEIcHlwaS5vcmc[A-Za-z0-9_-]{80}"), "{}"),
    "RubyGems": (("rubygems", "_[a-f0-9]{48}"), "{}"),
    "Docker Hub": (("dc", "kr_pat_[A-Za-z0-9_-]{27}"), "{}"),
    "DigitalOcean": (("do", "p_v1_[a-f0-9]{64}"), "{}"),
    "DigitalOcean OAuth": (("do", "o_v1_[a-f0-9]{64}"), "{}"),
    "Shopify": (("shp", "at_[a-fA-F0-9]{32}"), "{}"),
    "Shopify secret": (("shp", "ss_[a-fA-F0-9]{32}"), "{}"),
    "Databricks": (("da", "pi[a-f0-9]{32}"), "{}"),
    "Vault": (("hv", "s.[A-Za-z0-9_-]{95}"), "{}"),
    "Vault short": (("hv", "s.[A-Za-z0-9]{24}"), "{}"),
    "Vault batch": (("hv", "b.[A-Za-z0-9_-]{150}"), "{}"),
    "Terraform Cloud": (("[A-Za-z0-9]{14}.atlas", "v1.[A-Za-z0-9_-]{67}"), "{}"),
    "Grafana service account": (("gl", "sa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"), "{}"),
    "Grafana Cloud": (("gl", "c_eyJvIjoi[A-Za-z0-9+/]{80}="), "{}"),
    "age": (("AGE-SECRET-", "KEY-1[B32]{58}"), "{}"),
    "Linear": (("lin", "_api_[A-Za-z0-9]{40}"), "{}"),
    "Notion": (("secret", "_[A-Za-z0-9]{43}"), "{}"),
    "Notion new": (("ntn", "_[0-9]{11}[A-Za-z0-9]{35}"), "{}"),
    "Telegram": (("[0-9]{10}:A", "A[A-Za-z0-9_-]{33}"), "{}"),
    "Telegram URL": (("[0-9]{10}:A", "A[A-Za-z0-9_-]{33}"), "https://api.telegram.org/bot{}/sendMessage"),
    "New Relic": (("NR", "AK-[A-Z0-9]{27}"), "{}"),
    "Datadog": (("[0-9a-f]{32}",), "DD_API_KEY={}"),
    "Sentry": (("sn", "trys_eyJpYXQiOjE3[A-Za-z0-9+/]{90}=_[A-Za-z0-9+/]{43}"), "{}"),
    "Sentry user": (("sn", "tryu_[a-f0-9]{64}"), "{}"),
    "Postman": (("PM", "AK-[a-f0-9]{24}-[a-f0-9]{34}"), "{}"),
    "Figma": (("fig", "d_[A-Za-z0-9_-]{40}"), "{}"),
    "Airtable": (("pat[A-Za-z0-9]{14}.[a-f0-9]{64}",), "{}"),
    "Asana": (("[0-9a-f]{32}",), "ASANA_CLIENT_SECRET={}"),
    "Doppler": (("dp", ".pt.[A-Za-z0-9]{43}"), "{}"),
    "PlanetScale": (("pscale", "_tkn_[A-Za-z0-9_-]{43}"), "{}"),
    "Supabase": (("sb", "p_[a-f0-9]{40}"), "{}"),
    "Pulumi": (("pul", "-[a-f0-9]{40}"), "{}"),
    "Prefect": (("pn", "u_[A-Za-z0-9]{36}"), "{}"),
    "Cloudflare": (("[A-Za-z0-9_-]{40}",), "CLOUDFLARE_API_TOKEN={}"),
    "Fly": (("fm", "2_[A-Za-z0-9+/]{180}="), "FlyV1 {}"),
    "Netlify": (("nf", "p_[A-Za-z0-9]{36}"), "{}"),
    "LangSmith": (("ls", "v2_pt_[a-f0-9]{32}_[a-f0-9]{10}"), "{}"),
    "Pinecone": (("pcs", "k_[A-Za-z0-9]{5}_[A-Za-z0-9]{63}"), "{}"),
    "Tailscale": (("tskey-", "auth-[A-Za-z0-9]{16}-[A-Za-z0-9]{32}"), "{}"),
    "1Password": (("ops_", "eyJ[A-Za-z0-9+/]{300}="), "{}"),
    "EasyPost": (("EZ", "AK[A-Za-z0-9]{54}"), "{}"),
    "Facebook": (("EAA", "C[A-Za-z0-9]{120}"), "{}"),
    "Dropbox": (("sl", ".[A-Za-z0-9_-]{136}"), "dropbox_access_token = '{}'"),
    "HubSpot": (("pat-", "na1-" + _UUID), "{}"),
    "Okta": (("00[A-Za-z0-9_-]{40}",), "OKTA_API_TOKEN={}"),
    "JWT": ((_JWT,), "{}"),
    "RSA key": (
        (
            "-----BEGIN RSA",
            " PRIVATE KEY-----\n",
            "MIIEpAIBAAKCAQEA[A-Za-z0-9+/]{48}\n[A-Za-z0-9+/]{64}\n[A-Za-z0-9+/]{40}==\n",
            "-----END RSA",
            " PRIVATE KEY-----",
        ),
        "{}",
    ),
    "private key": (
        (
            "-----BEGIN",
            " PRIVATE KEY-----\n",
            "MIIEvQIBADANBgkq[A-Za-z0-9+/]{48}\n[A-Za-z0-9+/]{64}\n",
            "-----END",
            " PRIVATE KEY-----",
        ),
        "{}",
    ),
    "OpenSSH key": (
        (
            "-----BEGIN OPENSSH",
            " PRIVATE KEY-----\n",
            "b3BlbnNzaC1rZXktdjEA[A-Za-z0-9+/]{50}\n[A-Za-z0-9+/]{70}\n",
            "-----END OPENSSH",
            " PRIVATE KEY-----",
        ),
        "{}",
    ),
    "PGP key": (
        (
            "-----BEGIN PGP",
            " PRIVATE KEY BLOCK-----\n\n",
            "lQOYBF[A-Za-z0-9+/]{58}\n[A-Za-z0-9+/]{64}\n",
            "-----END PGP",
            " PRIVATE KEY BLOCK-----",
        ),
        "{}",
    ),
    "postgres URL": (("[A-Za-z0-9]{14}",), "postgres://ann:{}@db.example/x"),
    "mongodb URL": (("[A-Za-z0-9]{14}",), "mongodb+srv://ann:{}@cluster0.abcde.mongodb.net/test"),
    "redis URL": (("[A-Za-z0-9]{18}",), "redis://:{}@cache.example:6379/0"),
    "amqp URL": (("[A-Za-z0-9]{14}",), "amqp://ann:{}@mq.example:5672/"),
    "git URL": (("[A-Za-z0-9]{30}",), "https://ann:{}@git.example/a/b.git"),
    "SQL Server": (("[A-Za-z0-9!]{14}",), "Server=db.example;Database=x;User Id=ann;Password={};Encrypt=True"),
    "Bearer header": (("[A-Za-z0-9_-]{40}",), "Authorization: Bearer {}"),
    "Bearer in curl": (("[A-Za-z0-9._-]{40}",), "curl -H 'Authorization: Bearer {}' https://api.example/v1"),
    "Basic header": ((base64.b64encode(b"ann:" + b"x9Kq" + b"2vLp8Zt4Rw").decode(),), "Authorization: Basic {}"),
    "X-Api-Key header": (("[A-Za-z0-9]{32}",), "x-api-key: {}"),
    "curl user": (("[A-Za-z0-9]{16}",), "curl -u ann:{} https://api.example/v1"),
    "password in code": (("[A-Za-z0-9!#%&*]{16}",), 'password = "{}"'),
    "password in JSON": (("[A-Za-z0-9!#%&*]{16}",), '{{"user": "ann", "password": "{}"}}'),
    "password in YAML": (("[A-Za-z0-9]{16}",), "db:\n  user: ann\n  password: {}\n"),
    "api key in code": (("[A-Za-z0-9]{32}",), "api_key = '{}'"),
    "secret in code": (("[A-Za-z0-9]{32}",), 'const clientSecret = "{}";'),
    "env password": (("[A-Za-z0-9]{16}",), "DB_HOST=db.example\nDB_PASSWORD={}\nDB_PORT=5432"),
    "env secret": (("[A-Za-z0-9]{40}",), "export SESSION_SECRET={}"),
    "env token": (("[A-Za-z0-9]{32}",), 'ACME_TOKEN="{}"'),
    "env key": (("[A-Za-z0-9]{32}",), "ACME_API_KEY={}"),
    "access token in JSON": (("[A-Za-z0-9_-]{40}",), '{{"access_token": "{}", "expires_in": 3600}}'),
}

VALUES = {kind: made(*form) for kind, (form, _) in FORMS.items()}
TEXTS = {kind: frame.format(VALUES[kind]) for kind, (_, frame) in FORMS.items()}
