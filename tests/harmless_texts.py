"""Texts without a credential, from code, documentation and shell sessions: talk of them, placeholders, hashes, data."""

from __future__ import annotations

import base64
import hashlib
import random
import string
import uuid

_CHANCE = random.Random(20261127)


def _hex(length: int) -> str:
    return "".join(_CHANCE.choices("0123456789abcdef", k=length))


def _letters(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(_CHANCE.choices(alphabet, k=length))


def _base64(size: int) -> str:
    return base64.b64encode(_CHANCE.randbytes(size)).decode()


def _uuid() -> str:
    return str(uuid.UUID(int=_CHANCE.getrandbits(128), version=4))


_TALK = """
How do I reset my password? My password manager forgot the api key.
password: hunter2
Password: ********
API key: (hidden)
secret: none
token: null
The token is sent in the Authorization header as Bearer <token>.
Bearer authentication is described in RFC 6750, and the bearer of a token needs no other proof.
Basic access authentication: the user name and the password are joined by a colon.
Never commit your secrets: use a password manager, or the vault of your cloud.
The password must have at least 12 characters, one upper-case letter, one digit and one of !#%&*.
Your API key starts with sk- and is shown only once.
keys look like sk-..., sk-ant-api03-..., ghp_xxx or AKIA...
Set ANTHROPIC_API_KEY to your key, e.g. sk-ant-api03-your-key-here.
export OPENAI_API_KEY=sk-your-key-here
export OPENAI_API_KEY="sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
OPENAI_API_KEY=YOUR_API_KEY
API_KEY=<your-api-key>
api_key: your_api_key_here
apiKey: "REPLACE_ME_WITH_YOUR_KEY"
GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
SLACK_TOKEN=xoxb-your-token
STRIPE_SECRET_KEY=sk_test_...
AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
SECRET_KEY = 'change-me-in-production'
JWT_SECRET=changeme
POSTGRES_PASSWORD=postgres
MYSQL_ROOT_PASSWORD: example
DATABASE_URL=postgres://user:password@localhost:5432/mydb
DATABASE_URL=postgresql://postgres:postgres@db:5432/app
MONGO_URI=mongodb://root:example@mongo:27017/
redis://:password@localhost:6379/0
https://user:pass@example.com/path
https://username:${TOKEN}@github.com/org/repo.git
https://oauth2:<token>@gitlab.com/x.git
https://x-access-token:{{ token }}@github.com/x.git
ftp://anonymous:guest@ftp.example.com/
amqp://guest:guest@localhost:5672//
smtp://mailer:secret@mail.example.org:587
Authorization: Bearer {{api_key}}
Authorization: Bearer $OPENAI_API_KEY
Authorization: Bearer ${process.env.TOKEN}
Authorization: Bearer YOUR_ACCESS_TOKEN_GOES_HERE
Authorization: Bearer mF_9.B5f-4.1JqM
Authorization: Basic dXNlcjpwYXNzd29yZA==
Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==
Proxy-Authorization: Negotiate
WWW-Authenticate: Bearer realm="example", error="invalid_token", error_description="The access token expired"
x-api-key: $ANTHROPIC_API_KEY
X-Auth-Token: <redacted>
The next_token of a page is opaque; pass it back as nextToken.
Password for 'https://ann@github.com':
[sudo] password for ann:
Enter passphrase for key '/home/ann/.ssh/id_ed25519':
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann@laptop
token_type: bearer, expires_in: 3600, scope: read write
error: authentication failed: invalid api key provided: sk-****abcd
Incorrect API key provided: sk-proj-********************wxyz. You can find your API key in the dashboard.
remote: Invalid username or password.
fatal: could not read Password for 'https://github.com': terminal prompts disabled
Using a password on the command line interface can be insecure.
The private key is stored at ~/.ssh/id_rsa, the public key at ~/.ssh/id_rsa.pub.
A PEM file starts with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----.
-----BEGIN RSA PRIVATE KEY-----\\n...\\n-----END RSA PRIVATE KEY-----
Telegram bots have tokens like 123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11.
A Discord token has three parts, parted by dots.
A JSON Web Token is header.payload.signature, each of them base64url.
max_tokens: 4096, total_tokens=15023, prompt_tokens: 1200
pad_token: "<pad>", eos_token: "</s>", bos_token_id: 1
tokenizer = "cl100k_base", vocab_token=<|endoftext|>
The key is "name" and the value is "Ann"; the primary key: customer_identifier
credentials: include
credentials: same-origin, redirect: follow
auth: required
secret: true
passwd: files systemd
pwd: /home/ann/projects/website/src/components
PWD=/home/ann/projects/website
OLDPWD=/usr/local/share/applications
$ echo $PATH
drwxr-xr-x 2 ann ann 4096 Nov 26 21:23 credentials
-rw------- 1 ann ann 1679 Nov 26 21:23 id_rsa
Username: ann Password:
login: ann password: ask the administrator
passphrase: correct horse battery staple
The secret: practice every day.
Secrets: a documentation of kubernetes secretKeyRef, secretName: database-credentials
secretKeyRef: {name: database-credentials, key: password}
valueFrom: secretKeyRef: name: my-secret key: api-token
"""

_CODE = """
api_key = os.environ['OPENAI_API_KEY']
client = OpenAI(api_key=api_key, token=None)
api_key=os.getenv("ANTHROPIC_API_KEY", "")
self.access_token = access_token
self._password = parsed.password
password = getpass.getpass("Password: ")
const password = req.body.password;
const token = await fetchAccessToken(clientId, clientSecret);
const apiKey = process.env.NEXT_PUBLIC_API_KEY ?? '';
let secret = std::env::var("SECRET_KEY").unwrap_or_default();
password: string;
password: str | None = None
token: Optional[str] = Field(default=None)
refreshToken?: RefreshTokenResponse;
credentials: GoogleCredentials | None = None
private_key: ed25519.Ed25519PrivateKey
MLKEM768X25519PrivateKey = rust_openssl.hpke.MLKEM768X25519PrivateKey
public_key = private_key.public_key()
GRANT_TYPE_REFRESH_TOKEN = "refresh_token"
TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"
token_url: https://auth.example.com/realms/master/protocol/openid-connect/token
TOKEN_PATTERN = r"[A-Za-z0-9_-]{20,}"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
auth_token = request.headers.get("X-Auth-Token")
headers = {"Authorization": f"Bearer {token}"}
headers["Authorization"] = "Bearer " + self.token
headers: { Authorization: `Bearer ${accessToken}` },
if token.type == TokenType.STRING_LITERAL: return token.value
for token in tokenize.generate_tokens(readline): yield token.string
def test_password_is_hashed(): assert user.password != "password123"
user = User.objects.create_user(username="ann", password="secret")
login(username="test", password="test1234")
assert redact("password=abc") == "password=***"
password = "P@ssw0rd"
secret = "my-super-secret-value"
token = "test-token"
token = "dummy_token_for_tests_only"
api_key = "fake-api-key-for-testing-purposes"
api_key="sk-test-placeholder"
API_KEY = "0000000000000000000000000000000000000000"
api_key: '1234567890abcdef1234567890abcdef'
client_secret = "abcdefghijklmnopqrstuvwxyz123456"
SECRET_KEY = "django-insecure-example-key-change-me"
encryption_key = b"\\x00" * 32
secret_key = secrets.token_hex(32)
password = ''.join(random.choices(string.ascii_letters, k=16))
passwordHash := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
private String accessTokenValiditySeconds = "accessTokenValiditySeconds";
<input type="password" name="password" placeholder="Password" autocomplete="current-password">
<label for="password">Password:</label>
password_field = driver.find_element(By.ID, "user_password_confirmation")
await page.fill('input[name="password"]', process.env.PASSWORD)
keyring.set_password("system", "username", password)
DB_PASSWORD = env("DB_PASSWORD")
DB_PASSWORD: ${{ secrets.DB_PASSWORD }}
password: !vault |
token: ${{ secrets.GITHUB_TOKEN }}
apiKey: {{ .Values.openai.apiKey | quote }}
api_key = var.datadog_api_key
password = module.database.this_db_instance_password
password = data.aws_secretsmanager_secret_version.current.secret_string
secret_id = aws_secretsmanager_secret.database_password.id
imagePullSecrets: [{name: registry-credentials}]
sk_buff *skb = alloc_skb(len, GFP_KERNEL);
key_press_event = Gtk.EventControllerKey.new()
hf_hub_download(repo_id="bert-base-uncased", filename="config.json")
gsk_sessions = [session for session in sessions if session.is_active]
npm_config_registry=https://registry.example.org/
s.decodeStringWithLimits(buffer)
glpat_prefix = "glpat-"
SG.sendgrid.transactional.templates.version
xoxb_pattern = re.compile(r"xoxb-[0-9]{10,13}-[0-9]{10,13}-[a-zA-Z0-9]{24}")
regex = '''(?i)(?:key|api|token|secret|password)(?:[0-9a-z\\-_\\t .]{0,20})'''
const SECRET_PATTERN = /AKIA[0-9A-Z]{16}/g;
KEY_PATTERN = "-----BEGIN (RSA|EC|DSA|OPENSSH) PRIVATE KEY-----"
validate_credentials(username: str, password: str) -> bool:
@pytest.mark.parametrize("token", ["", "a", "not-a-token", None])
tokenCount: inputTokens + outputTokens + reasoningTokens
cacheKey: `user:${userId}:preferences:v2`
CACHE_KEY=v1-linux-node20-build
KEY_PREFIX=session
SSH_AUTH_SOCK=/run/user/1000/keyring/ssh
GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D
"""

_SHELL = """
$ curl -H 'Authorization: Bearer $OPENAI_API_KEY' https://api.openai.com/v1/models
$ curl -u admin:admin http://localhost:9200/_cat/indices
$ curl -u "$USER:$PASSWORD" https://api.example.com/v1
$ curl -s https://api.github.com/repos/python/cpython/releases/latest | jq -r .tag_name
$ git clone git@github.com:python/cpython.git
$ git remote -v
origin\thttps://github.com/python/cpython.git (fetch)
$ docker login -u ann --password-stdin registry.example.com
$ docker run -e POSTGRES_PASSWORD=mysecretpassword -p 5432:5432 -d postgres
$ ssh -i ~/.ssh/id_rsa ann@10.0.0.5 'ls -la'
$ psql -U postgres -h localhost -p 5432 -c 'select 1'
$ pip install cryptography==42.0.5 PyJWT==2.8.0 oauthlib==3.2.2
$ npm install jsonwebtoken@9.0.2 passport-local-mongoose@8.0.0
$ export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
$ kubectl get secret database-credentials -o jsonpath='{.data.password}' | base64 -d
$ aws sts get-caller-identity --query Account --output text
$ gcloud auth print-access-token | docker login -u oauth2accesstoken --password-stdin https://gcr.io
$ vault kv get -field=password secret/production/database
$ openssl rand -hex 32 > secret.key
$ gpg --list-secret-keys --keyid-format=long
sec   rsa4096/3AA5C34371567BD2 2016-03-10 [expires: 2027-03-10]
$ env | grep -i token
$ ls -la ~/.aws/credentials ~/.npmrc ~/.netrc
$ python -m pytest tests/test_token.py::test_refresh_token_is_rotated -q
tests/test_auth.py::test_login_with_wrong_password_is_refused PASSED [ 42%]
INFO:     127.0.0.1:51234 - "POST /oauth/token HTTP/1.1" 200 OK
2026-11-26T21:23:45.123Z INFO auth.service token refreshed user_id=48213 expires_in=3600s
Nov 26 21:23:45 host sshd[28358]: Failed password for invalid user admin from 203.0.113.7 port 51234 ssh2
Nov 26 21:23:46 host sshd[28359]: Accepted publickey for ann from 203.0.113.7 port 51235 ssh2
Traceback (most recent call last): KeyError: 'ANTHROPIC_API_KEY'
openai.AuthenticationError: 401 - {'message': 'Incorrect API key provided', 'code': 'invalid_api_key'}
HTTP/1.1 401 Unauthorized
"""


def _made() -> list[str]:
    """Hashes, identifiers and data."""
    data = _base64(300)
    return [
        *(getattr(hashlib, name)(b"x").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")),
        hashlib.sha256(b"x").hexdigest().upper(),
        _uuid(),
        f"request_id: {_uuid()}",
        f"X-Request-Id: {_uuid()}",
        f"session_id={_uuid()}",
        f"trace_id: {_hex(32)} span_id: {_hex(16)}",
        f"traceparent: 00-{_hex(32)}-{_hex(16)}-01",
        f"commit {_hex(40)}\nAuthor: Ann <ann@example.com>\n\n    Rotate the token of the bot",
        "\n".join(f"{_hex(7)} Fix the password form ({number})" for number in range(20)),
        f"index {_hex(7)}..{_hex(7)} 100644\n--- a/src/auth/token.py\n+++ b/src/auth/token.py",
        f'ETag: "{_hex(32)}"',
        f'etag: W/"{_letters(27)}"',
        f'"integrity": "sha512-{_base64(64)}"',
        f"cryptography==42.0.5 --hash=sha256:{_hex(64)} --hash=sha256:{_hex(64)}",
        f"github.com/golang-jwt/jwt/v5 v5.2.1 h1:{_base64(32)}",
        f"sha256:{_hex(64)}: Pulling from library/postgres",
        f"image: registry.example.com/app@sha256:{_hex(64)}",
        f'checksum = "{_hex(64)}"',
        f'cache_key = "{_hex(40)}"',
        f"key: node-modules-{_hex(64)}",
        f'"nextToken": "{_base64(60)}"',
        f'"nextPageToken": "{_letters(40)}"',
        f'"NextContinuationToken": "{_base64(45)}"',
        f'"sync_token": "{_letters(40)}"',
        f"csrf_token: {_letters(32)}",
        f"idempotency_key: {_uuid()}",
        f"call_{_letters(24)} toolu_{_letters(24)} chatcmpl-{_letters(29)}",
        f'"id": "msg_{_letters(24)}", "type": "message"',
        f"resp_{_hex(50)} rs_{_hex(50)} fc_{_hex(50)}",
        f'"system_fingerprint": "fp_{_hex(10)}"',
        f'"encrypted_content": "gAAAAA{_base64(400).replace("/", "_").replace("+", "-")}"',
        f'"signature": "{_base64(300)}"',
        f'"thoughtSignature": "{_base64(200)}"',
        f"projects/48213/locations/eu/keyRings/main/cryptoKeys/{_letters(12, string.ascii_lowercase)}",
        f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-{_letters(6)}",
        f"i-{_hex(17)} vpc-{_hex(17)} subnet-{_hex(17)} sg-{_hex(17)} ami-{_hex(17)}",
        f"customer: cus_{_letters(14)}, price: price_{_letters(24)}, pk_{'live'}_{_letters(24)}",
        f"https://cdn.example.com/assets/index-{_letters(8)}.js?v={_hex(8)}",
        f"https://www.youtube.com/watch?v={_letters(11)}",
        f"https://docs.google.com/document/d/{_letters(44)}/edit",
        f"https://codecov.io/gh/a/b/graph/badge.svg?token={_letters(10)}",
        f"https://medium.com/@ann/how-we-rotate-our-keys-and-tokens-{_hex(12)}",
        f"wss://example.com/socket?v=2&session={_uuid()}",
        "Set-Cookie: theme=dark; Path=/; Expires=Thu, 26 Nov 2026 21:23:45 GMT",
        f"data:image/png;base64,{_base64(3000)}",
        f"see ![a picture](data:image/png;base64,{_base64(3000)}) here",
        f"iVBORw0KGgo{'A' * 40}{_base64(200)}",
        f"Base64: AAAAIGZ0eXBpc29t{'A' * 99}EUTGF2YzYxLjMuMTAw{'A' * 99}",
        "\n".join(data[at : at + 76] for at in range(0, len(data), 76)),
        f"[Binary file: v.mp4]\n{data}AKIA{_letters(16, string.ascii_uppercase)}{data}",
        f"{data}/AKIA{_letters(16, string.ascii_uppercase)}/{data}",
        f"-----BEGIN PUBLIC KEY-----\n{_base64(48)}\n{_base64(48)}\n-----END PUBLIC KEY-----",
        f"-----BEGIN CERTIFICATE-----\n{_base64(48)}\n{_base64(48)}\n-----END CERTIFICATE-----",
        f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{_base64(250)} ann@laptop",
        f"|1|{_base64(20)}|{_base64(20)} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{_base64(30)}",
        f"SHA256:{_base64(32).rstrip('=')} ann@laptop (ED25519)",
        f"0x{_hex(40)} sent 1.5 ETH to 0x{_hex(40)} in 0x{_hex(64)}",
        f"{_hex(8)}: {' '.join(_hex(4) for _ in range(8))}  ................",
        f'<svg><path d="M12.5 3.2L{"4.1 5.6C7.8 9.1 " * 10}Z" fill="#{_hex(6)}"/></svg>',
        f"ICCID 8949{_letters(15, string.digits)}, IBAN DE89370400440532013000, ISBN 978-3-16-148410-0",
        f'version = "1.2.3-beta.4+build.{_hex(8)}"',
        '"token": "Hello", "logprob": -0.0123, "bytes": [72, 101]',
        f"ULID 01ARZ3NDEKTSV4RRFFQ69G5FAV, nanoid {_letters(21)}",
        f'__webpack_public_path__ + "static/js/{_hex(20)}.chunk.js"',
        f"var __webpack_modules__={{{','.join(f'{number}:(e,t,n)=>{{n.d(t,{{A:()=>r}})}}' for number in range(40))}}}",
        f"//# sourceMappingURL=data:application/json;base64,{_base64(3000)}",
    ]


HARMLESS = [text for text in (*_TALK.splitlines(), *_CODE.splitlines(), *_SHELL.splitlines(), *_made()) if text]
