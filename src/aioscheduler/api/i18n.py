"""Status words and sentences in the caller's language, and which language that is.

English is what the source says; Portuguese is the catalogue below. Keys, error codes, paths, log lines and settings
errors stay English.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from aioscheduler.errors import Sentence

Language = Literal["en", "pt"]

#: Longer ``Accept-Language`` headers count as malformed, and none is worth remembering.
MAX_ACCEPT_LANGUAGE = 200

#: RFC 9110 sections 12.4.2 and 12.5.4: a language range and its weight.
_RANGE = re.compile(
    r"(?P<tag>\*|[A-Za-z]{1,8})(?:-[A-Za-z0-9]{1,8})*(?:[ \t]*;[ \t]*[qQ]=(?P<weight>0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?"
)


def translate(sentence: Sentence, language: str) -> str:
    """Return the sentence in ``en`` or ``pt``, its inner sentences too; in English where the catalogue has none."""
    if language != "pt":
        return str(sentence)
    template = PORTUGUESE.get(sentence.template, sentence.template)
    if not sentence.values:
        return template
    return template.format(
        **{
            name: translate(value, language) if isinstance(value, Sentence) else value
            for name, value in sentence.values.items()
        }
    )


def word(status: str, language: str) -> str:
    """Return a status word in ``en`` or ``pt``; one without a translation stays as it is."""
    return WORDS.get(status, status) if language == "pt" else status


def language_of(accept_language: str | None, default: Language) -> Language:
    """Return the language the caller likes best of those we speak; ``default`` when none, any, or not legal."""
    if not accept_language or len(accept_language) > MAX_ACCEPT_LANGUAGE:
        return default
    return _best(accept_language, default)


@lru_cache(maxsize=256)
def _best(accept_language: str, default: Language) -> Language:
    best, best_weight = default, 0.0
    for item in accept_language.split(","):
        if not (item := item.strip(" \t")):
            continue  # RFC 9110 section 5.6.1.2 lets lists have empty elements.
        match = _RANGE.fullmatch(item)
        if match is None:
            return default
        language = _SPOKEN.get(match["tag"].lower(), default if match["tag"] == "*" else None)
        weight = float(match["weight"] or 1)
        if language is not None and weight > best_weight:
            best, best_weight = language, weight
    return best


_SPOKEN: dict[str, Language] = {"en": "en", "pt": "pt"}

#: Status words. A message is feminine in Portuguese, a service and a connection are masculine.
WORDS = {
    "scheduled": "agendada",
    "delivering": "em entrega",
    "retrying": "aguardando nova tentativa",
    "replaced": "substituída",
    "deleted": "removida",
    "rejected": "rejeitada",
    "queued": "na fila",
    "replayed": "reagendada",
    "received": "recebida",
    "success": "sucesso",
    "failure": "falha",
    "timed_out": "tempo esgotado",
    "healthy": "saudável",
    "unhealthy": "não saudável",
    "degraded": "degradado",
    "connected": "conectado",
    "disconnected": "desconectado",
    "running": "em execução",
    "stopped": "parado",
    "ok": "ok",
}

#: English template -> Portuguese template with the same places.
PORTUGUESE = {
    # Fields
    "must be a string": "deve ser um texto",
    "must be an object": "deve ser um objeto",
    "must be an object of strings": "deve ser um objeto cujos valores são textos",
    "must have 1 to {max} characters": "deve ter de 1 a {max} caracteres",
    "must have at most {max} characters": "deve ter no máximo {max} caracteres",
    "must have at most {max} entries": "deve ter no máximo {max} itens",
    "must not contain control characters": "não pode conter caracteres de controle",
    "must be a number from {min} to {max}": "deve ser um número de {min} a {max}",
    "must be a whole number from {min} to {max}": "deve ser um número inteiro de {min} a {max}",
    "must be one of {choices}": "deve ser um destes valores: {choices}",
    '"{value}" is reserved: it is a route of its own': '"{value}" é reservado: é uma rota própria',
    # Time
    "must be an instant in ISO 8601, such as 2026-04-15T02:41:45Z or 2026-04-15T02:41:45.250-03:00": (
        "deve ser um instante em ISO 8601, como 2026-04-15T02:41:45Z ou 2026-04-15T02:41:45.250-03:00"
    ),
    "is no existing date and time": "não é uma data e hora existente",
    'must be a string with a unit, such as "90s", "15m", "2h", "7d" or "PT1H30M", or a number of seconds': (
        'deve ser um texto com unidade, como "90s", "15m", "2h", "7d" ou "PT1H30M", ou um número de segundos'
    ),
    "must be from 0 seconds to 100 years": "deve ser de 0 segundos a 100 anos",
    # Targets
    "must be an absolute http:// or https:// URL": "deve ser uma URL absoluta http:// ou https://",
    "must not contain spaces, backslashes or control characters": (
        "não pode conter espaços, barras invertidas nem caracteres de controle"
    ),
    "is no legal header name": "não é um nome de cabeçalho válido",
    "may not be set: the service writes this header itself": (
        "não pode ser definido: o próprio serviço escreve este cabeçalho"
    ),
    "stands there twice": "aparece duas vezes",
    "must not contain line breaks or control characters, nor begin or end with a space": (
        "não pode conter quebras de linha nem caracteres de controle, nem começar ou terminar com espaço"
    ),
    "{place} is loopback or a private network, which WEBHOOK_BLOCK_PRIVATE forbids unless WEBHOOK_ALLOW names it": (
        "{place} é loopback ou rede privada, o que WEBHOOK_BLOCK_PRIVATE proíbe, a menos que WEBHOOK_ALLOW permita"
    ),
    "{host} is a cloud metadata service, which is never called": (
        "{host} é um serviço de metadados de nuvem, que nunca é chamado"
    ),
    "{address} is a link-local, metadata, multicast or reserved address, which is never called": (
        "{address} é um endereço link-local, de metadados, multicast ou reservado, que nunca é chamado"
    ),
    "the name resolves to something that is no IP address": "o nome aponta para algo que não é um endereço IP",
    # Whole requests
    "{field}: {reason}": "{field}: {reason}",
    "The request is not valid.": "A requisição não é válida.",
    "The request was refused: {reason}.": "A requisição foi recusada: {reason}.",
    "There is no such route.": "Essa rota não existe.",
    "{method} is not possible here, only {allowed}.": "{method} não é possível aqui, somente {allowed}.",
    "Something went wrong inside the service; its log says what.": (
        "Algo deu errado dentro do serviço; o log dele diz o quê."
    ),
    "Too many requests: try again in {seconds} s.": "Requisições demais: tente novamente em {seconds} s.",
    "The service is stopping.": "O serviço está sendo encerrado.",
    # Credentials
    "This route needs the header Authorization: Bearer <API_TOKEN>.": (
        "Esta rota exige o cabeçalho Authorization: Bearer <API_TOKEN>."
    ),
    "The token is not valid.": "O token não é válido.",
    # Bodies and queries
    "The body has more than the {limit} bytes this service accepts.": (
        "O corpo tem mais do que os {limit} bytes que este serviço aceita."
    ),
    "did not arrive whole": "não chegou por inteiro",
    "is no JSON: see line {line}, column {column}": "não é JSON: veja a linha {line}, coluna {column}",
    "is nested too deeply": "tem níveis de aninhamento demais",
    "is missing": "está faltando",
    "is missing: give an instant here, or a delay": "está faltando: informe um instante aqui, ou um delay",
    "must not stand beside scheduleTo: give one of the two": ("não pode vir junto com scheduleTo: informe um dos dois"),
    "is more than {seconds} s in the past, which PAST_SCHEDULE=reject forbids": (
        "está mais de {seconds} s no passado, o que PAST_SCHEDULE=reject proíbe"
    ),
    "must be an array": "deve ser uma lista",
    "must be true or false": "deve ser true ou false",
    "must be UTF-8, percent-encoded": "deve ser UTF-8 com codificação por porcentagem",
    "must be the id in the path, or be left out": "deve ser o id do caminho, ou ser omitido",
    "is no cursor of ours: leave it out to begin again": "não é um cursor nosso: omita-o para recomeçar",
    # Messages and dead letters
    'There is no message with the id "{id}".': 'Não há mensagem com o id "{id}".',
    'There is a message with the id "{id}" already.': 'Já existe uma mensagem com o id "{id}".',
    'The batch has another message with the id "{id}".': 'O lote tem outra mensagem com o id "{id}".',
    'The key of "{id}" in Redis holds something that is no message.': (
        'A chave de "{id}" no Redis guarda algo que não é uma mensagem.'
    ),
    "Give a prefix, or what the id contains, or both.": (
        "Informe um prefixo (prefix), o que o id contém (contains), ou ambos."
    ),
    'There is no dead letter with the id "{id}".': 'Não há mensagem morta com o id "{id}".',
    "Give a prefix, a reason, or all=true.": "Informe prefix, reason ou all=true.",
    "is no message, so it can be read and deleted, but not sent": (
        "não é uma mensagem: pode ser lida e removida, mas não enviada"
    ),
    # Store
    "The store cannot be reached. Try again in a moment.": (
        "O armazenamento está inacessível. Tente novamente em instantes."
    ),
    "The store refuses to work at the moment. Try again later.": (
        "O armazenamento se recusa a trabalhar no momento. Tente novamente mais tarde."
    ),
    # Inbox
    "The inbox takes requests from this machine only; INBOX=open lets others write.": (
        "A inbox só recebe requisições desta máquina; INBOX=open permite outras."
    ),
    "The inbox is off: INBOX=false.": "A inbox está desligada: INBOX=false.",
}
