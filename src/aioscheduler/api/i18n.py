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
    "This route needs the header Authorization: Bearer <JWT or API_TOKEN>.": (
        "Esta rota exige o cabeçalho Authorization: Bearer <JWT ou API_TOKEN>."
    ),
    "This route needs the header X-API-Key: <API_KEY>.": "Esta rota exige o cabeçalho X-API-Key: <API_KEY>.",
    "The API key is not valid.": "A chave de API não é válida.",
    "The token has expired.": "O token expirou.",
    "The token is not valid yet.": "O token ainda não é válido.",
    "The keys that sign tokens cannot be fetched at the moment.": (
        "As chaves que assinam os tokens não podem ser obtidas no momento."
    ),
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
    'The message "{id}" was changed, attempted, delivered or deleted meanwhile.': (
        'A mensagem "{id}" foi alterada, tentada, entregue ou removida nesse meio-tempo.'
    ),
    "must be *, which asks for a message that is new": "deve ser *, que pede uma mensagem nova",
    'must be *, or ETags in quotes, such as "{tag}"': 'deve ser *, ou ETags entre aspas, como "{tag}"',
    'The batch has another message with the id "{id}".': 'O lote tem outra mensagem com o id "{id}".',
    'The key of "{id}" in Redis holds something that is no message.': (
        'A chave de "{id}" no Redis guarda algo que não é uma mensagem.'
    ),
    "Give a prefix, or what the id contains, or both.": (
        "Informe um prefixo (prefix), o que o id contém (contains), ou ambos."
    ),
    'There is no dead letter with the id "{id}".': 'Não há mensagem morta com o id "{id}".',
    "Give a prefix, a reason, a destination, or all=true.": "Informe prefix, reason, destination ou all=true.",
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
    # What the store can lose
    "No append-only file: a crash of the store loses what it accepted. Set appendonly yes.": (
        "Sem arquivo append-only: uma queda do armazenamento perde o que ele aceitou. Defina appendonly yes."
    ),
    "appendfsync is no: a crash of the machine can lose half a minute. Set everysec or always.": (
        "appendfsync é no: uma queda da máquina pode perder meio minuto. Defina everysec ou always."
    ),
    "The last write to the append-only file failed: look at the store's disk.": (
        "A última escrita no arquivo append-only falhou: verifique o disco do armazenamento."
    ),
    "The store's memory is nearly full: raise maxmemory before new messages are refused.": (
        "A memória do armazenamento está quase cheia: aumente maxmemory antes que novas mensagens sejam recusadas."
    ),
    "The server is a read-only replica: point the settings at the primary.": (
        "O servidor é uma réplica somente leitura: aponte as configurações para o primário."
    ),
    "The server speaks the protocol of Redis {version}; 6.2 or later is needed.": (
        "O servidor fala o protocolo do Redis {version}; é necessário o 6.2 ou posterior."
    ),
    "maxmemory-policy is {policy}: a full store throws messages away. Set noeviction.": (
        "maxmemory-policy é {policy}: um armazenamento cheio descarta mensagens. Defina noeviction."
    ),
    "notify-keyspace-events lacks {flags}: outside writers' messages are found by the slow resync only.": (
        "Falta {flags} em notify-keyspace-events: mensagens de outros programas só são encontradas pela "
        "ressincronização lenta."
    ),
    "STORE_WAIT_AOF is set, but the server refuses WAITAOF ({error}), so no client can write: it takes "
    "Redis 7.2 or Valkey, appendonly yes and appendfsync always.": (
        "STORE_WAIT_AOF está definida, mas o servidor recusa WAITAOF ({error}), e por isso nenhum cliente pode gravar: "
        "é preciso o Redis 7.2 ou o Valkey, appendonly yes e appendfsync always."
    ),
    "STORE_WAIT_AOF is set, but appendfsync is {policy}, with which WAITAOF answers before the disk has "
    "it, so no client can write. Set appendfsync always.": (
        "STORE_WAIT_AOF está definida, mas appendfsync é {policy}, com que WAITAOF responde antes de o dado estar no "
        "disco, e por isso nenhum cliente pode gravar. Defina appendfsync always."
    ),
    "STORE_WAIT_REPLICAS is {wanted}, but {connected} replicas are connected: no client can write until they are.": (
        "STORE_WAIT_REPLICAS é {wanted}, mas há {connected} réplicas conectadas: nenhum cliente pode gravar até que "
        "estejam."
    ),
    # Inbox
    "The inbox takes requests from this machine only; INBOX=open lets others write.": (
        "A inbox só recebe requisições desta máquina; INBOX=open permite outras."
    ),
    "The inbox is off: INBOX=false.": "A inbox está desligada: INBOX=false.",
    # Schedules
    "minute": "minuto",
    "hour": "hora",
    "day of month": "dia do mês",
    "month": "mês",
    "day of week": "dia da semana",
    "is never due": "nunca ocorre",
    '"{value}" is none of the aliases {choices}': '"{value}" não é um dos atalhos {choices}',
    "must have five fields, minute, hour, day of month, month and day of week; this has {count}": (
        "deve ter cinco campos, minuto, hora, dia do mês, mês e dia da semana; este tem {count}"
    ),
    '"{value}" is no legal {field}: use numbers from {min} to {max}, as in 5, 1-5, */2 or 1,3': (
        '"{value}" não é válido como {field}: use números de {min} a {max}, como em 5, 1-5, */2 ou 1,3'
    ),
    "must be an IANA time zone, such as UTC or America/Sao_Paulo": (
        "deve ser um fuso horário IANA, como UTC ou America/Sao_Paulo"
    ),
    "must name days of the week, such as mon,wed,fri or mon-fri": (
        "deve indicar dias da semana em inglês abreviado, como mon,wed,fri ou mon-fri"
    ),
    "must come to at least one second and at most 50 years in all": (
        "deve somar no mínimo um segundo e no máximo 50 anos"
    ),
    # Schedules in words
    "Monday": "segunda-feira",
    "Tuesday": "terça-feira",
    "Wednesday": "quarta-feira",
    "Thursday": "quinta-feira",
    "Friday": "sexta-feira",
    "Saturday": "sábado",
    "Sunday": "domingo",
    "January": "janeiro",
    "February": "fevereiro",
    "March": "março",
    "April": "abril",
    "May": "maio",
    "June": "junho",
    "July": "julho",
    "August": "agosto",
    "September": "setembro",
    "October": "outubro",
    "November": "novembro",
    "December": "dezembro",
    "every day": "todos os dias",
    "Every week": "Toda semana",
    "1 week": "1 semana",
    "{count} weeks": "{count} semanas",
    "Every day": "Todo dia",
    "1 day": "1 dia",
    "{count} days": "{count} dias",
    "Every hour": "Toda hora",
    "1 hour": "1 hora",
    "{count} hours": "{count} horas",
    "Every minute": "Todo minuto",
    "1 minute": "1 minuto",
    "{count} minutes": "{count} minutos",
    "Every second": "Todo segundo",
    "1 second": "1 segundo",
    "{count} seconds": "{count} segundos",
    "Every {period}": "A cada {period}",
    "{what} ({zone})": "{what} ({zone})",
    "{first}, {rest}": "{first}, {rest}",
    "{first} to {last}": "{first} a {last}",
    "At {times}": "Às {times}",
    "Every {count} hours from {time}": "A cada {count} horas a partir das {time}",
    "Every hour from {first} to {last}": "A cada hora das {first} às {last}",
    "within {hours}": "dentro de {hours}",
    "At minute {minutes}": "No minuto {minutes}",
    "At minute {minutes} of every hour": "No minuto {minutes} de cada hora",
    "in {months}": "em {months}",
    "{days}, and also {weekdays}": "{days}, e também {weekdays}",
    "{days}, but only if {weekdays}": "{days}, mas só se for {weekdays}",
    "on day {days} of the month": "no dia {days} do mês",
    "on the last day of the month": "no último dia do mês",
    "on the last of Monday to Friday in the month": "no último dia do mês que seja de segunda a sexta-feira",
    "the last {day} of the month": "{day} (a última ocorrência do mês)",
    "{day} number {nth} of the month": "{day} ({nth}ª ocorrência do mês)",
    "On {date} the clocks in {zone} show {time} twice: it runs the first time only.": (
        "Em {date} os relógios em {zone} mostram {time} duas vezes: executa só na primeira."
    ),
    "On {date} the clocks in {zone} skip {time}: it runs right after the gap, at {moved}.": (
        "Em {date} os relógios em {zone} pulam {time}: executa logo depois do salto, às {moved}."
    ),
    # Body templates
    "gives more than {max} characters": "resulta em mais de {max} caracteres",
    "must have at most {max} placeholders": "deve ter no máximo {max} marcadores",
    "a placeholder must have at most {max} filters": "um marcador deve ter no máximo {max} filtros",
    "{name} is no variable: use one of {choices}": "{name} não é uma variável: use uma destas: {choices}",
    "{name} is no filter: use one of {choices}": "{name} não é um filtro: use um destes: {choices}",
    "date must be the first filter": "date deve ser o primeiro filtro",
    "the braces that open at character {at} are not closed": "as chaves que abrem no caractere {at} não são fechadas",
    "cannot be understood at character {at}: a placeholder is a variable and filters, such as {example}": (
        "não pode ser entendido no caractere {at}: um marcador é uma variável com seus filtros, como {example}"
    ),
    "the filter {name} takes no argument": "o filtro {name} não aceita argumento",
    "the filter default needs a text in quotes, such as {example}": (
        "o filtro default precisa de um texto entre aspas, como {example}"
    ),
    "the filter truncate needs a number of characters, such as {example}": (
        "o filtro truncate precisa de um número de caracteres, como {example}"
    ),
    "the filter date needs a format in quotes, of at most {max} characters, such as {example}": (
        "o filtro date precisa de um formato entre aspas, de no máximo {max} caracteres, como {example}"
    ),
    "{directive} is no part of a date: use {choices}": "{directive} não faz parte de uma data: use {choices}",
    # Events
    "{max} clients follow the events already, as many as EVENT_CLIENTS allows. Try again later.": (
        "{max} clientes já acompanham os eventos, tantos quanto EVENT_CLIENTS permite. Tente novamente mais tarde."
    ),
    "Events are the whole deployment's, which takes the API_TOKEN.": (
        "Os eventos são da instalação inteira, o que exige o API_TOKEN."
    ),
    # Metrics
    "Prometheus reads the whole deployment's metrics, which takes the API_TOKEN; ask for JSON.": (
        "O Prometheus lê as métricas da instalação inteira, o que exige o API_TOKEN; peça JSON."
    ),
    "json and urlencode must stand last, in this order": "json e urlencode devem vir por último, nesta ordem",
    "must be a whole number, at least {min}": "deve ser um número inteiro, no mínimo {min}",
    # Bots
    "the URL cannot be used: {reason}": "a URL não pode ser usada: {reason}",
    "{source} answered {status}": "{source} respondeu {status}",
    "{source} is no file": "{source} não é um arquivo",
    "there is no file {source}": "não existe o arquivo {source}",
    "{source} cannot be read: {reason}": "{source} não pode ser lido: {reason}",
    "{source} has more than the {limit} bytes that are read": "{source} tem mais que os {limit} bytes que são lidos",
    "{source} has more than {limit} entries": "{source} tem mais de {limit} registros",
    "{source} has no entry that can be read": "{source} não tem nenhum registro que possa ser lido",
    "{source} is neither a vCard file nor a table with the usual columns": (
        "{source} não é um arquivo vCard nem uma tabela com as colunas usuais"
    ),
    "{source} has no column {column}": "{source} não tem a coluna {column}",
    "BIRTHDAY_CONTACTS is not set: it says where the contacts are": (
        "BIRTHDAY_CONTACTS não está definida: ela diz onde estão os contatos"
    ),
    "BIRTHDAY_WEBHOOK_URL is not set: it says where greetings are sent to": (
        "BIRTHDAY_WEBHOOK_URL não está definida: ela diz para onde vão as felicitações"
    ),
    "none of {count} greetings was accepted; the last one: {reason}": (
        "nenhuma de {count} felicitações foi aceita; a última: {reason}"
    ),
    "VISITOR_PROFILES is not set: it says where the profiles are": (
        "VISITOR_PROFILES não está definida: ela diz onde estão os perfis"
    ),
    "none of {count} profiles could be visited; the last one: {reason}": (
        "nenhum de {count} perfis pôde ser visitado; o último: {reason}"
    ),
    # Jobs, executions, webhooks
    "This occurrence was not run, so there is nothing to repeat; run its job.": (
        "Esta ocorrência não foi executada, então não há o que repetir; execute o job."
    ),
    "This execution, or a later attempt, has not ended yet.": (
        "Esta execução, ou uma tentativa posterior, ainda não terminou."
    ),
    'There is no execution with the id "{id}".': 'Não há execução com o id "{id}".',
    "is for messages only: an execution is made again at once": (
        "vale só para mensagens: uma execução é refeita imediatamente"
    ),
    "must be of a job with less than {max} webhooks": "deve ser de um job com menos de {max} webhooks",
    "must be a UUID": "deve ser um UUID",
    "These credentials do not open this account.": "Estas credenciais não dão acesso a esta conta.",
    'There is no job with the id "{id}".': 'Não há job com o id "{id}".',
    'There is no webhook with the id "{id}".': 'Não há webhook com o id "{id}".',
    "Others change the job all the time. Try again in a moment.": (
        "O job está sendo alterado por outros o tempo todo. Tente novamente em instantes."
    ),
    "Job {id} queued for immediate execution": "Job {id} na fila para execução imediata",
    "Execution {id} queued for immediate execution": "Execução {id} na fila para execução imediata",
    "must be a string, a number, true or false, or an array of these": (
        "deve ser um texto, um número, true ou false, ou uma lista destes"
    ),
    "cannot be changed": "não pode ser alterado",
    "The body did not arrive within {seconds} s.": "O corpo não chegou em {seconds} s.",
    "must be later than {name}": "deve ser posterior a {name}",
    "The write may stand, but not yet on the disks it has to be on. Try again in a moment.": (
        "A gravação pode estar feita, mas ainda não nos discos em que tem de estar. Tente novamente em instantes."
    ),
    "The store cannot put writes on the disks they have to be on, so it takes none now.": (
        "O armazenamento não consegue pôr as gravações nos discos em que têm de estar e por isso não aceita nenhuma "
        "agora."
    ),
    "The write may stand, but too few replicas of the store have it ({replicas} needed). Try again in a moment.": (
        "A gravação pode estar feita, mas poucas réplicas do armazenamento já a têm (são necessárias "
        "{replicas}). Tente novamente em instantes."
    ),
    "Too few of the store's replicas keep up ({replicas} needed), so it takes no writes now. Try again later.": (
        "Poucas réplicas do armazenamento estão em dia (são necessárias {replicas}), por isso ele não aceita "
        "gravações agora. Tente novamente mais tarde."
    ),
}
