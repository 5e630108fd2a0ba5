"""Whether what was said is in another language than English, from two words on, by the small words of a language.

It knows no grammar and names no language. Of languages whose small words are not listed it knows letters only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

FEWEST_WORDS: Final = 2
MANY_WORDS: Final = 8
MAX_CHARACTERS: Final = 2_400
ACCENTED: Final = 0.7
HINTED: Final = 0.3
LEAST: Final = 0.7


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENGLISH: Final = _listed(
    """
        about and any are as back because been but by can can't could didn't doesn't don't for from get going
        good got great had has have hello how i i'd i'll i'm i've if isn't it it's its just like more my not
        okay one our out people please she should some sorry still than thank thanks that that's the their them
        then there there's these they this those up very we've went were what when who why with would yeah yes
        you you're your
    """
)
# Words of English and of other languages.
_SHARED: Final = _listed(
    """
        a all am an at be do he in is me no now of on only or so to us was we will
    """
)
# Frequent in one of some thirty languages (most of Europe, Hindi, Indonesian, Tagalog, Swahili ...), and never English.
_OTHER: Final = _listed(
    """
        aap abbiamo aber adesso agat agus ainda aiuti ajuda ako alguém alstublieft anche ancora anda anteeksi
        asante auch aucun auf av avec avete ayuda bahut bana banyak bardzo beaucoup begrijp bei belum bene benim
        bhi bij bir bisa bitte boa bom bonjour buenas buenos bună buongiorno bạn c'est chce chcę cho chào cok
        com combien cuanto cuándo cuánto czy când có cómo cảm của d'accord dank danke dat ddim deg degil dekuji
        delle dengan depuis desde det değil dhanyavaad diolch dla dlaczego dobar dobry dobrý dove działa
        dziekuje dzień dziękuję días dónde děkuji ederim een ei eich einem einen encomenda encore entendo esto
        estou estoy está ett että eu evet fait falar faleminderit fawr fein foarte forstår funciona fungerar för
        förstår für gdje gdzie geen geht genau gibt gli goed goedemorgen graag gracias grazie guten habari habe
        haben hablar hace hain hallo hapana hartelijk hasta hayır heb hebben hej het hindi hoe hogy hva hvad
        hvala hvor hvorfor hyvää ich ici icin iets igen ihnen ihr ihre ik ikke immer ingenting inte isso isto
        itu için j'ai jag jak je jeg jesam jetzt jsem jullie juz już já jó kaise kako kaputt kasih kayo kde kdy
        ke kein keine keinen không kiedy kiitos kunt kyllä kyun kérem können köszönöm l'ai leish les luego
        lutfen là lütfen maar mae mais maith mange mein meine meinen meneer mera merci merhaba meri meu meus
        mevrouw mie miei mijn mikor miksi minha minhas minun minä mio missä mitt mitään miért moc mogę moja moje
        molim molto muito mujhe multumesc mulțumesc mutta muy mycket más mé mój möchte mě mı n'est naar nadie
        nahi nahin naman nao napot nasıl ndiyo necesito neden nein nej nekem nem neni není nerede nessuno nicht
        nichts nie niente niet niets nije nimic ninataka ninguém nisam ništa noch nog noget non nous nuk này não
        när något ní níl obrigada obrigado och oder og ogenblik olá onde ook oui où paljon para parlare parler
        percebo perche perché pero peux piu più plait plaît por porque porquê posso pourquoi pouvez preciso
        prosim prosze proszę prosím proč puedo puo può på qualcuno quand quando quanto quelqu'un quero questa
        questo quiero quoi qué raha rahi raibh rechnung revoir rien rozumiem s'il salamat saya schon sehr seit
        selamat senhor senhora señor señora shukran shukriya sie signora signore się som sono sudah suis szépen
        så sí tack tafadhali takk tambien también também tardes tengo tenho terima tesekkur teşekkür tidak tiene
        toimi tolong tomu très tschüss tá tôi und unde une usted ustedes uur už varför veux vielen vil vill
        virker voce você voglio vorrei votre voudrais vous và vă waar waarom wann wanneer warte warum wat wedi
        wenn werkt wie wieder wieviel wij wir wollen xin ydy yn yok yw zaman ziua zu är ça çok è értem és été
        êtes înțeleg ögonblik über što że ơn și
    """
)
# The same, but they stand in English names and places, or look like an English word that is rare in a call.
_HINTS: Final = _listed(
    """
        ada al ana ang ano apa att az ben bore bu ca ce che chi ciao co con cosa da dan dans das de della den
        der des di dia dig dit donde du dw egy ein eine el en er es est esta este favor gut ha hai han har hay
        hei ho hol hola hum i'n il ini ist ja jam jest jo ka kan kann ki ko kun kya la las lo los ma madame mam
        mana marche mas mea med meer mere mes mi mia mich min mina mir mis mit mo mon monsieur na nada ne nella
        ng ni noe nos nu ole pan pani pas per po pour puede que qui rog sa sam sana se sera si sim stato sunt
        sur tak tarde tempo til u uma una va van var ve vi wil wo ya yang ze zijn
    """
)


@lru_cache(maxsize=2048)
def foreign(text: str) -> bool:
    """Whether foreign words outweigh English ones, or eight words and more hold hardly an English one.

    An accented letter is nearly as telling as a foreign word; a hint counts a third, so "El Paso, la" stays English.
    """
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text[:MAX_CHARACTERS].lower().replace("\u2019", "'"))
    if len(words) < FEWEST_WORDS:
        return False
    english = sum(word in _ENGLISH for word in words)
    shared = sum(word in _SHARED for word in words)
    other = sum(1 if w in _OTHER else HINTED if w in _HINTS else 0 if w.isascii() else ACCENTED for w in words)
    strange = len(words) >= MANY_WORDS and english + shared / 3 < len(words) / 12
    return strange or other >= max(LEAST, 1.2 * english + shared / 4, len(words) / 5)
